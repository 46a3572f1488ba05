"""How many seeds run at the same time, and what each has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.commands.over_seeds.seeds import Share, share_out


@pytest.mark.parametrize(
    ("seeds", "workers", "expected"),
    [
        (3, 2, Share(1, 2)),
        (3, 8, Share(1, 8)),
        (3, 15, Share(1, 15)),
        (3, 16, Share(2, 8)),
        (3, 24, Share(3, 8)),
        (3, 64, Share(3, 21)),
        (1, 64, Share(1, 64)),
    ],
)
def test_seeds_share_the_workers_that_one_cannot_use(
    seeds: int, workers: int, expected: Share
) -> None:
    assert share_out(seeds, workers, nodes=8) == expected


@given(st.integers(0, 20), st.integers(1, 256), st.integers(1, 100))
def test_no_more_is_shared_out_than_there_is(seeds: int, workers: int, nodes: int) -> None:
    share = share_out(seeds, workers, nodes)
    assert 1 <= share.seeds <= max(seeds, 1)
    assert share.workers >= 1
    assert share.seeds * share.workers <= workers
