"""Which nodes begin, and with how many workers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.workers.plan import Most, Spread, any_number, choose, divisors_of, only_one

SPREADS: tuple[Spread, ...] = ("auto", "nodes", "inside")


@pytest.mark.parametrize(
    ("ready", "running", "free", "spread", "expected"),
    [
        # As many nodes as workers: side by side.
        ([any_number] * 4, 0, 4, "auto", [1, 1, 1, 1]),
        ([any_number] * 6, 0, 4, "auto", [1, 1, 1, 1]),
        ([any_number] * 2, 2, 2, "auto", [1, 1]),
        # Fewer: they share the workers.
        ([any_number], 0, 4, "auto", [4]),
        ([any_number] * 2, 0, 4, "auto", [2, 2]),
        ([any_number] * 3, 0, 4, "auto", [1, 1, 2]),
        ([only_one, any_number], 0, 4, "auto", [1, 3]),
        ([divisors_of(6)], 0, 4, "auto", [3]),
        ([divisors_of(1)], 0, 4, "auto", [1]),
        ([any_number], 1, 2, "auto", [2]),
        ([any_number], 0, 4, "nodes", [1]),
        # One after the other.
        ([any_number] * 4, 0, 4, "inside", [4]),
        ([divisors_of(2), any_number], 0, 4, "inside", [2]),
        ([any_number], 1, 2, "inside", []),
        ([], 0, 4, "auto", []),
        ([any_number], 4, 0, "auto", []),
    ],
)
def test_nodes_share_the_workers(
    ready: list[Most], running: int, free: int, spread: Spread, expected: list[int]
) -> None:
    assert choose(ready, running, free, 4, spread) == expected


@given(
    kinds=st.lists(st.sampled_from([any_number, only_one, divisors_of(4), divisors_of(6)])),
    workers=st.integers(1, 9),
    busy=st.integers(0, 9),
    spread=st.sampled_from(SPREADS),
)
def test_no_more_workers_are_given_out_than_are_free(
    kinds: list[Most], workers: int, busy: int, spread: Spread
) -> None:
    busy = min(busy, workers)
    chosen = choose(kinds, busy, workers - busy, workers, spread)
    assert sum(chosen) <= workers - busy
    assert all(number == most(number) for number, most in zip(chosen, kinds, strict=False))
    # Somebody works whenever there is work, and a worker to do it.
    assert chosen or not kinds or busy
