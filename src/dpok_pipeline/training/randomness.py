"""Random states, and random draws that depend on counters alone.

Training draws prompts, rows and noise as functions of (seed, counter), so a restart needs only
the counters. The global states are kept as well, for rewards that draw from them.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpok_pipeline.diffusion.noise import derive_seed


def counter_generator(seed: int, purpose: str, counter: int) -> torch.Generator:
    """A CPU generator for one iteration's or update's draws."""
    return torch.Generator().manual_seed(derive_seed(seed, f"{purpose}/{counter}"))


def prompt_numbers(seed: int, prompts: int, start: int, count: int) -> Tensor:
    """The prompts at positions start … start + count − 1 of an endless series of shuffles.

    Every epoch holds each prompt once, also where an epoch ends inside a rollout.

    Args:
        seed: of the shuffles.
        prompts: how many there are.
        start: images drawn before.
        count: images wanted.

    Returns:
        `(count,)` int64 indices on the CPU.
    """
    places = range(start, start + count)
    return torch.tensor([_epoch(seed, prompts, p // prompts)[p % prompts] for p in places])


@lru_cache(maxsize=4)
def _epoch(seed: int, prompts: int, epoch: int) -> tuple[int, ...]:
    generator = counter_generator(seed, "prompts", epoch)
    return tuple(torch.randperm(prompts, generator=generator).tolist())


def capture_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators, on every device."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_states(states: dict[str, Any]) -> None:
    """Restore what `capture_states` gave, also after a passage through JSON.

    A device that this machine lacks is passed over: there a run can go on, but not bit for bit.
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.asarray(keys), *rest))
    torch.set_rng_state(states["torch"])
    for number, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, number)
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
