"""Tracks a command in MLflow: its run, the child runs of its nodes, and their lineage.

A command has one run. Below it, each node that trains or compares has a child run, which the node
itself logs metrics to. Parameters are logged by dotted names, and the versions of all datasets that
were read and written as tags, so that the output of one run can be found as the input of another.

Every call names its store and its run. MLflow's active run is not used: several sessions in one
process, and nodes in other threads or processes, therefore cannot disturb one another.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration.tracking import TrackingConfig, read_tracking
from dpok_pipeline.hooks.artifacts import log_input, log_output
from dpok_pipeline.hooks.mlflow_runs import (
    in_one_line,
    log_parameters,
    open_child,
    open_run,
    parameter_groups,
)
from dpok_pipeline.pipelines.mlflow_tracker import client_of
from dpok_pipeline.pipelines.task import TrackerAddress

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"


class TrackingHooks:
    """Hooks that open, fill and end the MLflow runs of a command."""

    def __init__(self) -> None:
        self._config: TrackingConfig | None = None
        self._catalog: CatalogProtocol | None = None
        self._interrupted_run: str | None = None
        self._run: TrackerAddress | None = None
        # Child runs of the nodes that have not finished, by the nodes' names.
        self._children: dict[str, TrackerAddress] = {}
        # By the nodes' names: the versions that a node has read, its base model's path, and the
        # outputs that it has saved.
        self._versions_read: dict[str, dict[str, str]] = {}
        self._base_models: dict[str, str] = {}
        self._saved: dict[str, set[str]] = {}
        # Datasets that are logged as inputs of the command's run.
        self._inputs: set[str] = set()

    @property
    def run_id(self) -> str | None:
        """Id of the command's run; None while no run is open."""
        return None if self._run is None else self._run.run_id

    def reopen(self, run_id: str | None) -> str | None:
        """Let the command go on in the run of an interrupted command.

        It must be called before `before_pipeline_run` of these hooks, which would open a new run.

        Args:
            run_id: Id of the interrupted command's run; None if it had none.

        Returns:
            The same id; None if MLflow no longer has that run, or has it in another experiment.
        """
        from mlflow.exceptions import MlflowException

        self._interrupted_run = None
        if run_id is None or self._config is None:
            return None
        client = client_of(self._config.tracking_uri)
        try:
            info = client.get_run(run_id).info
            experiment = client.get_experiment_by_name(self._config.experiment_name)
        except (MlflowException, OSError):
            return None
        if experiment is None or info.experiment_id != experiment.experiment_id:
            return None
        self._interrupted_run = run_id if info.lifecycle_stage == "active" else None
        return self._interrupted_run

    def open_child(
        self, node_name: str, experiment: str, method: str, parameters: Mapping[str, Any]
    ) -> TrackerAddress | None:
        """Open the run that a node logs to.

        In a continued command this is the run that the interrupted one has opened for the node.

        Args:
            node_name: Name of the node with its namespace.
            experiment: Experiment whose prompts the node works on; `all` for all of them.
            method: Method whose LoRA the node makes; empty if it is about several.
            parameters: Parameter groups of the node by their names, with or without `params:`.

        Returns:
            Address of the run; None for a node that logs nothing, and if nothing is tracked.
        """
        method = child_method(node_name, method)
        if self._run is None or not method:
            return None
        with in_one_line():
            child = self._children[node_name] = open_child(self._run, experiment, method)
            # The names lose their namespaces, so that MLflow compares child runs by columns.
            namespaces = (f"{experiment}.", f"{method}.")
            log_parameters(child, parameter_groups(parameters, namespaces))
            for name, version in self._versions_read.get(node_name, {}).items():
                client_of(child.uri).set_tag(child.run_id, f"input.{name}", version)
        return child

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read where runs are tracked; a misspelt key is refused before anything runs."""
        self._config = read_tracking(context.config_loader)
        self._interrupted_run = None

    # This hook comes last, when no other can refuse the command any more: Kedro calls no hook after
    # a refusal, and an open run would stay open for ever.
    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the command's run and log what the whole command shares."""
        self._end("KILLED")  # A session that was interrupted in this process may have left runs.
        self._catalog = catalog
        self._versions_read, self._base_models, self._saved = {}, {}, {}
        self._inputs = set()
        if self._config is None:
            return
        interrupted, self._interrupted_run = self._interrupted_run, None
        try:
            with in_one_line():
                self._run = open_run(self._config, run_params, interrupted)
                names = [name for name in pipeline.inputs() if name.startswith("params:")]
                groups = parameter_groups({name: catalog.load(name) for name in names})
                log_parameters(self._run, groups)
        except Exception:
            self._end("FAILED")
            raise

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Tag the version that was read, and log its digest if its catalog entry says so."""
        if hasattr(data, "content_hash"):
            self._base_models[node.name] = data.path
        version = self._version(dataset_name, "load")
        if self._run is None or version is None:
            return
        self._versions_read.setdefault(node.name, {})[dataset_name] = version
        if dataset_name in self._inputs:
            return
        self._inputs.add(dataset_name)
        client = client_of(self._run.uri)
        with in_one_line():
            client.set_tag(self._run.run_id, f"input.{dataset_name}", version)
            if self._wishes(dataset_name).get("input"):
                path = self._path(dataset_name, version)
                log_input(client, self._run.run_id, dataset_name, data, path)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Tag the version that was written, and log it if its catalog entry says so.

        A node's child run ends with the last of the node's outputs.
        """
        if self._run is None or getattr(self._dataset(dataset_name), "unfinished", False):
            return
        child = self._children.get(node.name)
        version = self._version(dataset_name, "save")
        with in_one_line():
            if version is not None:
                self._log_version(child, dataset_name, version, self._base_models.get(node.name))
            saved = self._saved.setdefault(node.name, set())
            saved.add(dataset_name)
            if child is not None and saved.issuperset(node.outputs):
                client_of(child.uri).set_terminated(child.run_id, "FINISHED")
                del self._children[node.name]

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End the command's run."""
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """End all runs as failed."""
        self._end("FAILED")

    def interrupted(self) -> None:
        """End all runs as killed: Kedro calls no hook when a command is interrupted."""
        self._end("KILLED")

    def _end(self, status: str) -> None:
        """End all open runs. If MLflow fails, that must not hide why the command has ended."""
        from mlflow.exceptions import MlflowException

        runs = [*self._children.values(), *filter(None, [self._run])]
        self._children, self._run = {}, None
        for run in runs:
            try:
                client_of(run.uri).set_terminated(run.run_id, status)
            except (MlflowException, OSError) as error:
                reason = str(error).partition("\n")[0]
                logger.warning("MLflow does not know that run %s has ended (%s)", run.name, reason)

    def _log_version(
        self, child: TrackerAddress | None, name: str, version: str, base_model: str | None
    ) -> None:
        """Tag the runs of command and node with an output; log it in the node's if there is one."""
        runs = [run for run in (child, self._run) if run is not None]
        for run in runs:
            client_of(run.uri).set_tag(run.run_id, f"output.{name}", version)
        path, wishes = self._path(name, version), self._wishes(name)
        log_output(client_of(runs[0].uri), runs[0].run_id, name, path, wishes, base_model)

    def _dataset(self, name: str) -> Any:
        return None if self._catalog is None else self._catalog.get(name)

    def _wishes(self, name: str) -> dict[str, Any]:
        """Read from the catalog entry of a dataset what MLflow is to have of it."""
        metadata = getattr(self._dataset(name), "metadata", None) or {}
        return dict(metadata.get("mlflow", {}))

    def _path(self, name: str, version: str) -> Path:
        return Path(self._dataset(name)._get_versioned_path(version))

    def _version(self, name: str, kind: str) -> str | None:
        """Return the version of a dataset that was loaded or saved; None if it has no versions."""
        dataset = self._dataset(name)
        if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
            return None
        resolve = dataset.resolve_load_version if kind == "load" else dataset.resolve_save_version
        version: str | None = resolve()
        return version


def child_method(node_name: str, method: str) -> str:
    """Return the second word of the name of a node's child run; empty for a node that has none.

    The first word is the experiment. A node that trains has the run of its method, and a node that
    compares methods has the run `evaluation`.
    """
    name = node_name.rpartition(".")[2]
    if name.startswith("compare_"):
        return EVALUATION
    return method if name.startswith("train_") else ""
