from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dpok_pipeline.rewards.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    centre_offsets,
    normalise,
    pixels_from_pil,
    pixels_from_tensor,
    resized_shape,
)


def test_normalise_by_hand():
    images = torch.full((1, 3, 1, 1), 0.5)
    expected = [(0.5 - m) / s for m, s in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    assert normalise(images).flatten().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (512, 512, (224, 224)),
        (512, 768, (224, 336)),
        (768, 512, (336, 224)),
        (100, 333, (224, 745)),
    ],
)
def test_the_shorter_side_becomes_the_size(height, width, expected):
    assert resized_shape(height, width, 224) == expected


def test_the_crop_is_central():
    assert centre_offsets(224, 336, 224) == (0, 56)
    image = torch.zeros(1, 3, 2, 4)
    image[..., 1:3] = 1
    torch.testing.assert_close(pixels_from_tensor(image, 2), normalise(torch.ones(1, 3, 2, 2)))


@pytest.mark.parametrize("shape", [(64, 64), (20, 20), (40, 60), (61, 45)])
def test_tensors_and_pil_differ_by_rounding_only(shape):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    pil = pixels_from_pil([Image.fromarray(array)], 32)
    tensor = pixels_from_tensor(torch.from_numpy(array).permute(2, 0, 1)[None] / 255, 32)
    # Pillow rounds after each of its two passes: at most about two grey levels in all.
    grey_levels = (pil - tensor).abs() * torch.tensor(CLIP_STD).view(1, 3, 1, 1) * 255
    assert grey_levels.max() < 2


def test_an_image_of_the_right_size_is_not_resampled():
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(pixels_from_tensor(images, 16), normalise(images))


def test_other_modes_become_rgb():
    grey = Image.new("L", (8, 8), 128)
    assert pixels_from_pil([grey], 8).shape == (1, 3, 8, 8)
