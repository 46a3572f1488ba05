"""Kedro's sequential runner, but for the nodes that a crashed run has finished."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from pluggy import PluginManager

from dpok_pipeline.hooks import JOURNAL

logger = logging.getLogger(__name__)


class ContinuingRunner(SequentialRunner):
    """Leaves out what the journal says is done: `kedro run` uses it unless told otherwise."""

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
            The datasets of all free outputs, those of nodes that were left out among them.
        """
        left = Pipeline([node for node in pipeline.nodes if node.name not in JOURNAL.done])
        super().run(left, catalog, hook_manager, run_id, only_missing_outputs)
        return {name: catalog[name] for name in pipeline.outputs()}

    def _suggest_resume_scenario(
        self, pipeline: Pipeline, done_nodes: Iterable[Node], catalog: CatalogProtocol
    ) -> None:
        """Say what Kedro would say with a list of nodes: the same command is enough."""
        logger.info("The same command goes on from the node that failed.")
