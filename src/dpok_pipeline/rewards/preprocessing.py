"""From images to the pixel values that CLIP and BLIP vision towers expect.

Two ways in. Tensors in [0, 1] are resized by a float, antialiased, differentiable bicubic filter:
nothing leaves the device and a gradient may flow. PIL images go through Pillow's own bicubic
filter, as the published scorers do it. The two differ by Pillow's rounding to whole grey levels.
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
    """Height and width after the shorter side is brought to `size`, the ratio kept."""
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def centre_offsets(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the central square of side `size`."""
    return round((height - size) / 2), round((width - size) / 2)


def pixels_from_tensor(images: Tensor, size: int) -> Tensor:
    """Resize, crop and normalise image tensors, differentiably.

    Args:
        images: `(b, 3, h, w)`, values in [0, 1].
        size: side of the square that the vision tower reads, in pixels.

    Returns:
        Pixel values `(b, 3, size, size)` in float32.
    """
    images = images.float()
    height, width = resized_shape(images.shape[-2], images.shape[-1], size)
    # Bicubic overshoots at edges. Pillow resizes the rows, then the columns, and cuts the
    # overshoot off after each pass as it rounds to bytes; so do we, without the rounding.
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
        images: b images of any mode and size.
        size: side of the square that the vision tower reads, in pixels.

    Returns:
        Pixel values `(b, 3, size, size)` in float32.
    """
    return normalise(torch.stack([_square_from_pil(image, size) for image in images]))


def _square_from_pil(image: Image.Image, size: int) -> Tensor:
    """One image as `(3, size, size)` in [0, 1]; the resize comes before the change of mode."""
    height, width = resized_shape(image.height, image.width, size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = centre_offsets(height, width, size)
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
