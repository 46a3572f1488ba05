"""Tracks a command in MLflow: its run, the child runs of its nodes, and their lineage.

A command has one run. Below it, each node that trains or compares has a child run, which the node
itself logs metrics to. Parameters are logged by dotted names, and the versions of all datasets that
were read and written as tags, so that the output of one run can be found as the input of another.

Every call names its store and its run. MLflow's active run is not used: several sessions in one
process, and nodes in other threads or processes, therefore cannot disturb one another.
"""

from __future__ import annotations

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
    experiment_id,
    log_parameters,
    open_child,
    open_run,
    parameter_groups,
)
from dpok_pipeline.pipelines.mlflow_store import (
    MESSENGER,
    client_of,
    connect,
    end_run,
    find_run,
    in_one_line,
)
from dpok_pipeline.pipelines.task import TrackerAddress

EVALUATION = "evaluation"


class TrackingHooks:
    """Hooks that open, fill and end the MLflow runs of a command."""

    def __init__(self) -> None:
        self._config: TrackingConfig | None = None
        self._catalog: CatalogProtocol | None = None
        self._journal: str | None = None
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

    @property
    def run(self) -> TrackerAddress | None:
        """Address of the command's run; None while no run is open."""
        return self._run

    def child_of(self, node_name: str) -> TrackerAddress | None:
        """Return the address of the run of a node that is under way; None if it has none."""
        return self._children.get(node_name)

    def prepare(self, journal: str) -> None:
        """Find the run of an interrupted command, in which this one goes on.

        It must be called before `before_pipeline_run` of these hooks, which opens the run again, or
        a new one if MLflow has none in this experiment.

        Args:
            journal: Key of the command's journal.

        Raises:
            InputError: MLflow does not answer.
        """
        if self._config is None:
            return
        client = connect(self._config.tracking_uri)
        with in_one_line():
            experiment_id(client, self._config)
            self._interrupted_run = find_run(client, self._config, journal)
        self._journal = journal

    def give_up(self, journal: str) -> None:
        """End the runs of an interrupted command that nobody continues any more.

        Args:
            journal: Key of that command's journal.

        Raises:
            InputError: MLflow does not answer.
        """
        if self._config is None:
            return
        client = connect(self._config.tracking_uri)
        with in_one_line():
            run_id = find_run(client, self._config, journal)
            if run_id is not None:
                end_run(client, run_id, "KILLED")

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
            Address of the run; None for a node that logs nothing, if nothing is tracked, and if
            MLflow is away.
        """
        method = child_method(node_name, method)
        run, title = self._run, f"{experiment} {method}"
        if run is None or not method:
            return None
        child = MESSENGER.tell(
            run.uri, f"the run {title}", lambda: open_child(run, experiment, method)
        )
        if child is None:
            return None
        self._children[node_name] = child

        def describe() -> None:
            # The names lose their namespaces, so that MLflow compares child runs by columns.
            namespaces = (f"{experiment}.", f"{method}.")
            log_parameters(child, parameter_groups(parameters, namespaces))
            for name, version in self._versions_read.get(node_name, {}).items():
                client_of(child.uri).set_tag(child.run_id, f"input.{name}", version)

        MESSENGER.tell(child.uri, f"parameters and inputs of {title}", describe)
        return child

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read where runs are tracked; a misspelt key is refused before anything runs."""
        self._config = read_tracking(context.config_loader)
        self._journal = self._interrupted_run = None

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
        MESSENGER.begin()
        if self._config is None:
            return
        if self._journal is None:
            connect(self._config.tracking_uri)
        try:
            with in_one_line():
                self._run = open_run(self._config, run_params, self._journal, self._interrupted_run)
                names = [name for name in pipeline.inputs() if name.startswith("params:")]
                groups = parameter_groups({name: catalog.load(name) for name in names})
                log_parameters(self._run, groups)
        except Exception:
            self._end("FAILED")
            raise
        finally:
            self._journal = self._interrupted_run = None

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
        client, run_id = client_of(self._run.uri), self._run.run_id

        def log() -> None:
            client.set_tag(run_id, f"input.{dataset_name}", version)
            if self._wishes(dataset_name).get("input"):
                log_input(client, run_id, dataset_name, data, self._path(dataset_name, version))

        MESSENGER.tell(self._run.uri, f"input {dataset_name}", log)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Tag the version that was written, and log it if its catalog entry says so.

        A node's child run ends with the last of the node's outputs.
        """
        if self._run is None or getattr(self._dataset(dataset_name), "unfinished", False):
            return
        child = self._children.get(node.name)
        version = self._version(dataset_name, "save")
        base_model = self._base_models.get(node.name)
        if version is not None:
            MESSENGER.tell(
                self._run.uri,
                f"output {dataset_name}",
                lambda: self._log_version(child, dataset_name, version, base_model),
            )
        saved = self._saved.setdefault(node.name, set())
        saved.add(dataset_name)
        if child is not None and saved.issuperset(node.outputs):
            del self._children[node.name]
            MESSENGER.tell(
                child.uri,
                f"the end of {child.name}",
                lambda: client_of(child.uri).set_terminated(child.run_id, "FINISHED"),
            )

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
        MESSENGER.conclude()

    def _end(self, status: str) -> None:
        """End all open runs. If MLflow fails, that must not hide why the command has ended."""
        run = self._run
        self._children, self._run = {}, None
        if run is not None:
            client = client_of(run.uri)
            what = f"the end of {run.name}"
            MESSENGER.tell(run.uri, what, lambda: end_run(client, run.run_id, status))

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
