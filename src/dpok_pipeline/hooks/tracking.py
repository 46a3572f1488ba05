"""What MLflow is told of a run beyond what kedro-mlflow tells it.

kedro-mlflow opens one run per command. Below it, each node that trains or evaluates has a child
run, which its tracker opens. Parameters are logged flat, and the versions of all datasets that
were read and written as tags, so that the output of one run can be found as the input of another.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.datasets.tracker import MlflowTracker
from dpok_pipeline.files.git import describe_commit
from dpok_pipeline.hooks.artifacts import log_dataset_input, log_output
from dpok_pipeline.runs.identity import flatten

PARAMETER_LENGTH = 500
BATCH = 100


class TrackingHooks:
    """Adds parameters, provenance, lineage and artifacts to the run that kedro-mlflow opened."""

    def __init__(self) -> None:
        self._catalog: CatalogProtocol | None = None
        # The trackers and inputs of the node that runs.
        self._tracker: MlflowTracker | None = None
        self._inputs: dict[str, Any] = {}
        # Which run has been told of which input.
        self._read: set[tuple[str, str]] = set()

    @hook_impl
    def after_catalog_created(self, catalog: CatalogProtocol) -> None:
        """Keep the catalog: the hooks of datasets are not given it."""
        self._catalog = catalog

    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log what the whole command shares; kedro-mlflow has opened its run by now."""
        import mlflow

        if mlflow.active_run() is None:
            return
        names = sorted(name for name in pipeline.inputs() if name.startswith("params:"))
        parameters = flatten({name.removeprefix("params:"): catalog.load(name) for name in names})
        # A run that is continued has them already.
        logged = mlflow.active_run().data.params
        new = {key: value for key, value in parameters.items() if key not in logged}
        entries = [(key, str(value)[:PARAMETER_LENGTH]) for key, value in new.items()]
        for start in range(0, len(entries), BATCH):
            mlflow.log_params(dict(entries[start : start + BATCH]))
        tags = {"command": shlex.join(["kedro", *sys.argv[1:]])}
        mlflow.set_tags(tags | describe_commit(Path(run_params["project_path"])))

    # First: what it takes out of `inputs`, a copy for hooks, kedro-mlflow does not log. It would
    # write each group of typed parameters as one long string.
    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Give the node's child run its parameters and inputs."""
        parameters = {name: inputs.pop(name) for name in list(inputs) if _is_parameter(name)}
        trackers = [value for value in inputs.values() if isinstance(value, MlflowTracker)]
        self._tracker = trackers[0] if trackers else None
        self._inputs = dict(inputs)
        if self._tracker is not None:
            own = {name.removeprefix("params:"): value for name, value in parameters.items()}
            self._tracker.log_parameters(flatten(own))
            for name in inputs:
                self._tag(f"input.{name}", self._version(name, "load"))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Tag the version that was read, and log its digest."""
        version = self._version(dataset_name, "load")
        if version is not None:
            self._tag(f"input.{dataset_name}", version, of_node=False)
            run_id = self._run_id()
            wanted = self._wanted(dataset_name).get("input")
            if wanted and run_id is not None and (run_id, dataset_name) not in self._read:
                log_dataset_input(run_id, dataset_name, data)
                self._read.add((run_id, dataset_name))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Tag the version that was written, and log it where its entry says so."""
        dataset = self._dataset(dataset_name)
        version = self._version(dataset_name, "save")
        if version is None or getattr(dataset, "unfinished", False):
            return
        self._tag(f"output.{dataset_name}", version)
        wanted = self._wanted(dataset_name)
        run_id = self._tracker.run_id if self._tracker else self._run_id()
        if wanted and run_id is not None:
            path = Path(dataset._get_versioned_path(version))
            log_output(run_id, dataset_name, path, wanted, self._inputs)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Close the node's child run."""
        if self._tracker is not None:
            self._tracker.finish("FINISHED")

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Close the node's child run as failed."""
        if self._tracker is not None:
            self._tracker.finish("FAILED")

    def interrupted(self) -> None:
        """Close every open run as killed: Kedro calls no hook when a run is interrupted."""
        import mlflow

        if self._tracker is not None:
            self._tracker.finish("KILLED")
        while mlflow.active_run() is not None:
            mlflow.end_run("KILLED")

    def _dataset(self, name: str) -> Any:
        return None if self._catalog is None else self._catalog.get(name)

    def _wanted(self, name: str) -> dict[str, Any]:
        """Read what the catalog entry wants MLflow to have of it."""
        metadata = getattr(self._dataset(name), "metadata", None) or {}
        return dict(metadata.get("mlflow", {}))

    def _version(self, name: str, kind: str) -> str | None:
        """Give the version of a dataset that was loaded or saved; None if it has none."""
        dataset = self._dataset(name)
        if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
            return None
        resolve = dataset.resolve_load_version if kind == "load" else dataset.resolve_save_version
        version: str | None = resolve()
        return version

    def _run_id(self) -> str | None:
        import mlflow

        active = mlflow.active_run()
        return None if active is None else str(active.info.run_id)

    def _tag(self, key: str, value: str | None, of_node: bool = True) -> None:
        """Tag the command's run, and the node's child run."""
        import mlflow

        runs = {self._run_id()}
        if of_node and self._tracker is not None:
            runs.add(self._tracker.run_id)
        for run_id in filter(None, runs):
            if value is not None:
                mlflow.MlflowClient().set_tag(run_id, key, value)


def _is_parameter(name: str) -> bool:
    return name.startswith("params:") or name == "parameters"
