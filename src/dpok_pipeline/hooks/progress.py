"""One line per node: what runs, how far, how long still."""

from __future__ import annotations

import logging
import time
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.hooks.journal import JournalHooks

logger = logging.getLogger(__name__)


class ProgressHooks:
    """Announces each node with an estimate of what is left.

    `expected_seconds.yml` of the environment says how long each kind of node took when it was
    measured. The estimate scales that by how fast this machine has been so far.
    """

    def __init__(self, journal: JournalHooks) -> None:
        self._journal = journal
        self._expected: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._total = 0
        self._started = self._node_started = 0.0
        self._took = self._should_have_taken = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read how long nodes take."""
        try:
            self._expected = dict(context.config_loader["expected_seconds"])
        except (MissingConfigException, KeyError):
            self._expected = {}

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Count the nodes; those that an interrupted run has done are behind us."""
        left = [node for node in pipeline.nodes if node.name not in self._journal.done]
        self._left = {node.name: self._expected_seconds(node) for node in left}
        self._total = len(pipeline.nodes)
        self._took = self._should_have_taken = 0.0
        self._started = time.monotonic()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Announce a node."""
        self._node_started = time.monotonic()
        number = self._total - len(self._left) + 1
        elapsed = _clock(self._node_started - self._started)
        left = self._estimate()
        estimate = f", about {_clock(left)} left" if left is not None else ""
        title = f"{node.namespace}: " if node.namespace else ""
        what = node.func.__name__.replace("_", " ")
        logger.info(
            "[%d/%d] %s%s (elapsed %s%s)", number, self._total, title, what, elapsed, estimate
        )

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Count a generator node's work, which is done while its outputs are saved."""
        self._finish(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count a node as done."""
        self._finish(node)

    def _finish(self, node: Node) -> None:
        now = time.monotonic()
        self._took += now - self._node_started
        self._node_started = now
        self._should_have_taken += self._left.pop(node.name, 0.0)

    def _expected_seconds(self, node: Node) -> float:
        return float(self._expected.get(node.func.__name__, 0.0))

    def _estimate(self) -> float | None:
        """Give the seconds left; None while nothing is known."""
        left = sum(self._left.values())
        if not left:
            return None
        # A few quick nodes say little about the machine: one minute of measurement is added
        # on both sides, as if it had run just as expected.
        return left * (self._took + 60) / (self._should_have_taken + 60)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
