"""Kedro's sequential runner, without the nodes that an interrupted run has finished."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any, ClassVar

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from pluggy import PluginManager

logger = logging.getLogger(__name__)


class ContinuingRunner(SequentialRunner):
    """The runner of `kedro run`, which leaves out the nodes that the journal names as done.

    Attributes:
        done: Names of the nodes to leave out. The journal's hook sets them before each run.
        at_once: Number of nodes that run at the same time, by which the time left is estimated.
    """

    done: ClassVar[Collection[str]] = ()
    at_once: ClassVar[int] = 1

    @property
    def _logger(self) -> logging.Logger:
        """Let what Kedro says of its own go by Kedro's name: conf/logging.yml keeps it quiet.

        The name would be this module's, and each node would be announced three times.
        """
        return logging.getLogger("kedro.runner")

    def run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
        only_missing_outputs: bool = False,
    ) -> dict[str, Any]:
        """Run the nodes that are not done.

        Returns:
            The datasets that no node of the pipeline reads, among them those of nodes that were
            left out.
        """
        remaining = Pipeline([node for node in pipeline.nodes if node.name not in self.done])
        super().run(remaining, catalog, hook_manager, run_id, only_missing_outputs)
        return {name: catalog[name] for name in pipeline.outputs()}

    def _suggest_resume_scenario(
        self, pipeline: Pipeline, done_nodes: Iterable[Node], catalog: CatalogProtocol
    ) -> None:
        """Name the same command as the remedy; Kedro would list the nodes that remain."""
        logger.info("The same command goes on from the node that failed.")
