"""Which nodes begin now, and how many workers share each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

Spread = Literal["auto", "nodes", "inside"]
"""`nodes` side by side, one worker each; one after the other with all workers `inside`; or `auto`,
side by side while there are at least as many as workers."""

#: Says how many of some workers, at most, can share a node.
Most = Callable[[int], int]


def divisors_of(slices: int) -> Most:
    """Return the rule for a training, whose workers share its slices evenly."""
    return lambda workers: max(n for n in range(1, workers + 1) if slices % n == 0)


def any_number(workers: int) -> int:
    """Return how many share a node that draws shards: all, as each worker draws whole ones."""
    return workers


def only_one(workers: int) -> int:
    """Return how many share any other node: one, as it cannot be shared."""
    return 1


def choose(
    ready: Sequence[Most], running: int, free: int, workers: int, spread: Spread
) -> list[int]:
    """Return the numbers of workers of the nodes that begin now, in their order.

    Args:
        ready: How many workers can share each of the nodes that wait for nothing else.
        running: Number of nodes that are running.
        free: Number of workers that have nothing to do.
        workers: Number of all workers.
        spread: The user's choice.

    Returns:
        One number for each of the first nodes; their sum is `free` at most.
    """
    if spread == "inside":
        # One at a time: what runs now may have left workers that it cannot use.
        return [ready[0](workers)] if ready and not running else []
    chosen: list[int] = []
    for place, most in enumerate(ready):
        left = free - sum(chosen)
        if left < 1:
            break
        alone = spread == "nodes" or len(ready) + running >= workers
        share = 1 if alone else max(left // (len(ready) - place), 1)
        chosen.append(most(share))
    return chosen
