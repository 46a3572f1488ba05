"""Draw noise that depends on seed and image index only, not on batches, device or order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Stream = Literal["initial", "steps"]
_STREAMS = {"initial": 0, "steps": 1}


def generator(seed: int, index: int, stream: Stream) -> torch.Generator:
    """Return the random generator of one image's stream, on the CPU."""
    words = np.random.SeedSequence((seed, index, _STREAMS[stream])).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def draw(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Draw the next noise of each generator, `(len(generators), *shape)` float32 on the CPU."""
    return torch.stack([torch.randn(tuple(shape), generator=g) for g in generators])


def derive_seed(seed: int, purpose: str) -> int:
    """Return a seed for one purpose, so that no two parts of a run share their noise.

    With one seed for everything, evaluation would draw the very noise that was trained on.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
