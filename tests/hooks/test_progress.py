from __future__ import annotations

import logging

import pytest
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.hooks import progress
from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.hooks.progress import ProgressHooks
from dpok_pipeline.hooks.tracking import TrackingHooks


def first(x):
    return x


def second(x):
    return x


PIPELINE = Pipeline(
    [Node(first, "a", "b", name="first_node"), Node(second, "b", "c", name="second_node")],
    namespace="color",
)


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def run(hooks: ProgressHooks, clock: Clock, seconds: float) -> None:
    """Run both nodes, each for that long."""
    hooks.before_pipeline_run(run_params={}, pipeline=PIPELINE)
    for node in PIPELINE.nodes:
        hooks.before_node_run(node=node)
        clock.now += seconds
        hooks.after_node_run(node=node)


def test_each_node_is_announced_with_its_number_and_the_time_elapsed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="dpok_pipeline"):
        run(ProgressHooks(JournalHooks(TrackingHooks())), clock, 65)
    assert caplog.messages == [
        "[1/2] color: first (elapsed 0:00)",
        "[2/2] color: second (elapsed 1:05)",
    ]


def test_the_estimate_follows_the_machines_speed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = ProgressHooks(JournalHooks(TrackingHooks()))
    hooks._expected = {"first": 600, "second": 600}
    with caplog.at_level(logging.INFO, logger="dpok_pipeline"):
        run(hooks, clock, 1200)
    assert caplog.messages[0].endswith("about 20:00 left)")
    # Twice as slow as expected, but for the minute that is taken on trust.
    assert caplog.messages[1].endswith("about 19:05 left)")
