"""The noise that a sampler run begins from, or takes first in its steps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dpok_pipeline.diffusion.noise import Stream, draw, generator


def noise(seed: int, indices: Sequence[int], shape: Sequence[int], stream: Stream) -> Tensor:
    """`(len(indices), *shape)` float32 on the CPU, each image's from its own generator."""
    return draw([generator(seed, index, stream) for index in indices], shape)
