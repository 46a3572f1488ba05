from __future__ import annotations

import pytest
from benchmarks.scale.graph import Task, makespan

from dpok_pipeline.workers.plan import Most, divisors_of, only_one


def task(name: str, seconds: float, *needs: str, most: Most = only_one) -> Task:
    return Task(name, frozenset(needs), most, lambda members: seconds / members)


def test_nodes_one_after_the_other() -> None:
    chain = [task("a", 1), task("b", 2, "a"), task("c", 4, "b")]
    assert makespan(chain, 1) == makespan(chain, 64) == 7


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12), (2, 6), (3, 6), (4, 3), (64, 3)])
def test_nodes_side_by_side_up_to_their_number(workers: int, seconds: float) -> None:
    assert makespan([task(name, 3) for name in "abcd"], workers) == seconds


def test_workers_that_are_left_share_a_node_that_can_be_shared() -> None:
    shared = [task("a", 8, most=divisors_of(4)), task("b", 8, most=divisors_of(4))]
    assert makespan(shared, 2) == 8
    assert makespan(shared, 8) == 2
    assert makespan(shared, 64) == 2  # four slices each


def test_a_node_that_runs_gets_no_more_workers() -> None:
    # Both begin with one worker each; the one that is free after a second stays so.
    tasks = [task("long", 8, most=divisors_of(2)), task("short", 1)]
    assert makespan(tasks, 2) == 8
