"""Turn images into the pixel values that CLIP and BLIP vision towers expect.

There are two ways. Tensors in [0, 1] are resized by a float, antialiased, differentiable bicubic
filter, so that nothing leaves the device and a gradient can flow. PIL images are resized by
Pillow's bicubic filter, as in the published scorers. The two results differ by Pillow's rounding to
whole grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(images: Tensor) -> Tensor:
    """Shift and scale images `(b, 3, h, w)` in [0, 1] by CLIP's mean and deviation."""
    mean = images.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return (images - mean) / std


def resized_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width after the shorter side is brought to `size` at the same ratio."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def centre_offsets(height: int, width: int, size: int) -> tuple[int, int]:
    """Return top and left of the central square of side `size`."""
    return round((height - size) / 2), round((width - size) / 2)


def pixels_from_tensor(images: Tensor, size: int) -> Tensor:
    """Resize, crop and normalise image tensors, differentiably.

    Args:
        images: Images `(b, 3, h, w)` with values in [0, 1].
        size: Side of the square that the vision tower reads, in pixels.

    Returns:
        Pixel values `(b, 3, size, size)` in float32.
    """
    images = images.float()
    height, width = resized_shape(images.shape[-2], images.shape[-1], size)
    # Bicubic filters overshoot at edges. Pillow resizes the rows, then the columns, and cuts the
    # overshoot off after each pass when it rounds to bytes. The same is done here without rounding.
    for shape in ((images.shape[-2], width), (height, width)):
        if shape != tuple(images.shape[-2:]):
            images = functional.interpolate(
                images, shape, mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
    top, left = centre_offsets(height, width, size)
    return normalise(images[..., top : top + size, left : left + size])


def pixels_from_pil(images: Sequence[Image.Image], size: int) -> Tensor:
    """Resize, crop and normalise PIL images as the published scorers do.

    Args:
        images: The b images, of any mode and size.
        size: Side of the square that the vision tower reads, in pixels.

    Returns:
        Pixel values `(b, 3, size, size)` in float32.
    """
    return normalise(torch.stack([_square_from_pil(image, size) for image in images]))


def _square_from_pil(image: Image.Image, size: int) -> Tensor:
    """Return one image as `(3, size, size)` in [0, 1], resized before its mode is changed."""
    height, width = resized_shape(image.height, image.width, size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = centre_offsets(height, width, size)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    # (size, size, 3) bytes to (3, size, size) in [0, 1]
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
