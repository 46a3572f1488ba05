"""Notes whole runs that have succeeded."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.finished_runs import RUN_WORK, note_finished
from dpok_pipeline.run_identity import Identity, describe_whole_run

# Options of `kedro run` that leave nodes out, or read other data.
NARROWING = (
    "tags",
    "from_nodes",
    "to_nodes",
    "node_names",
    "from_inputs",
    "to_outputs",
    "load_versions",
    "namespaces",
    "only_missing_outputs",
)


class FinishedRunHooks:
    """Keeps what a whole run was made from until it has succeeded."""

    def __init__(self) -> None:
        self._identity: Identity | None = None

    # First: after kedro-mlflow's hook, an error would leave its run open.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Describe the run while its inputs are as it will read them."""
        whole = (run_params["pipeline_names"] or ["__default__"]) == ["__default__"]
        narrowed = any(run_params[option] for option in NARROWING)
        self._identity = describe_whole_run(pipeline, catalog) if whole and not narrowed else None

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Note the run; nothing is noted of one that failed."""
        if self._identity is not None:
            version = catalog.get("report").resolve_save_version()
            note_finished(catalog.load(RUN_WORK), self._identity, version)
