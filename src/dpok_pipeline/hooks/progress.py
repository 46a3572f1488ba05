"""Logs one line per node: its name, its number, and the time that is left."""

from __future__ import annotations

import logging
import time
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.runs.runner import ContinuingRunner

logger = logging.getLogger(__name__)


class ProgressHooks:
    """Hooks that announce each node, with an estimate of the time that is left.

    `expected_seconds.yml` of the environment says how long each kind of node took when it was
    measured. The estimate scales that by how fast this machine has been so far.

    Args:
        journal: Hooks that know which nodes an interrupted run has finished.
    """

    def __init__(self, journal: JournalHooks) -> None:
        self._journal = journal
        self._expected: dict[str, float] = {}
        self._remaining: dict[str, float] = {}
        self._total = 0
        self._started = 0.0
        self._begun: dict[str, float] = {}  # by the names of the nodes that are running
        self._seconds_taken = self._seconds_expected = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read how long nodes are expected to take."""
        try:
            self._expected = dict(context.config_loader["expected_seconds"])
        except (MissingConfigException, KeyError):
            self._expected = {}

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Count the nodes, before the journal says which of them are done."""
        self._remaining = {node.name: self._expected_seconds(node) for node in pipeline.nodes}
        self._total = len(pipeline.nodes)
        self._seconds_taken = self._seconds_expected = 0.0
        self._begun = {}
        self._started = time.monotonic()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Announce a node."""
        self._begun[node.name] = now = time.monotonic()
        for name in self._journal.done:
            self._remaining.pop(name, None)
        number = self._total - len(self._remaining) + len(self._begun)
        elapsed = _clock(now - self._started)
        seconds = self._estimate()
        estimate = f", about {_clock(seconds)} left" if seconds is not None else ""
        namespace = f"{node.namespace}: " if node.namespace else ""
        title = namespace + node.func.__name__.replace("_", " ")
        logger.info("[%d/%d] %s (elapsed %s%s)", number, self._total, title, elapsed, estimate)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count a node as done."""
        now = time.monotonic()
        self._seconds_taken += now - self._begun.pop(node.name, now)
        self._seconds_expected += self._remaining.pop(node.name, 0.0)

    def _expected_seconds(self, node: Node) -> float:
        return float(self._expected.get(node.func.__name__, 0.0))

    def _estimate(self) -> float | None:
        """Estimate the seconds that are left; None if no duration is known."""
        expected = sum(self._remaining.values())
        if not expected:
            return None
        # A few quick nodes say little about the machine. One minute is therefore added to both
        # sides, as if it had been spent as expected.
        pace = (self._seconds_taken + 60) / (self._seconds_expected + 60)
        return expected * pace / ContinuingRunner.at_once


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
