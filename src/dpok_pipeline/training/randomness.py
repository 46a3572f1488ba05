"""Random states, and random draws that depend on counters alone.

Training draws prompts, rows and noise as functions of (seed, counter), so a restart needs only
the counters. The global states are kept as well, for rewards that draw from them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpok_pipeline.diffusion.noise import derive_seed

# Iterations whose prompts are counted before a run: enough to say what the rest will be like.
_COUNTED_ITERATIONS = 200


def counter_generator(seed: int, purpose: str, counter: int) -> torch.Generator:
    """Make a CPU generator for the draws of one iteration or update."""
    return torch.Generator().manual_seed(derive_seed(seed, f"{purpose}/{counter}"))


def prompt_numbers(seed: int, prompts: int, start: int, count: int, group_size: int = 1) -> Tensor:
    """Return the prompts of images start … start + count − 1 of an endless series of shuffles.

    Every epoch holds each prompt's group once, also where an epoch ends inside a rollout.

    Args:
        seed: Seed of the shuffles.
        prompts: Number of prompts.
        start: Number of images drawn before.
        count: Number of images.
        group_size: Images of the same prompt that follow one another.

    Returns:
        `(count,)` int64 indices on the CPU.
    """
    # Groups take the place of single images in the series: with a size of 1 it is the same one.
    groups = [image // group_size for image in range(start, start + count)]
    return torch.tensor([_epoch(seed, prompts, g // prompts)[g % prompts] for g in groups])


@lru_cache(maxsize=4)
def _epoch(seed: int, prompts: int, epoch: int) -> tuple[int, ...]:
    generator = counter_generator(seed, "prompts", epoch)
    return tuple(torch.randperm(prompts, generator=generator).tolist())


def share_of_lone_images(
    seed: int,
    prompts: int,
    *,
    images: int,
    group_size: int,
    rollouts: int,
    iterations: int,
) -> float:
    """Return the share of images that are the only ones of their prompt among the last rollouts.

    It is counted over the very prompts that a run draws, of all iterations or the first 200.

    Args:
        seed: Seed of the shuffles.
        prompts: Number of prompts.
        images: Images per rollout.
        group_size: Images of the same prompt that follow one another.
        rollouts: Rollouts that the buffer holds, the newest ones.
        iterations: Length of the run.
    """
    counted = min(iterations, _COUNTED_ITERATIONS)
    drawn = prompt_numbers(seed, prompts, 0, counted * images, group_size)
    shares = []
    for iteration in range(counted):
        first = max(iteration + 1 - rollouts, 0)
        held = drawn[first * images : (iteration + 1) * images]  # (rollouts · images,)
        occurrences = torch.bincount(held)[held]  # how often each image's prompt is there
        shares.append(float((occurrences == 1).float().mean()))
    return sum(shares) / counted


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for a while, and put them back as they were."""
    before = capture_states()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_states(before)


def capture_states() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's global generators, on every device."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_states(states: dict[str, Any]) -> None:
    """Restore what `capture_states` returned, also after a passage through JSON.

    The state of a device that this machine lacks is passed over: the run goes on, but not bit for
    bit.
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
