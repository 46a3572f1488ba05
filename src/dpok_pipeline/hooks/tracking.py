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
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.hooks.artifacts import Maker, log_input, log_output
from dpok_pipeline.hooks.mlflow_runs import (
    about,
    end_child,
    experiment_id,
    log_parameters,
    open_child,
    open_run,
    parameter_groups,
    set_tags,
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
from dpok_pipeline.tracking.cost import TrackingCost
from dpok_pipeline.tracking.registered import RegisteredDataset
from dpok_pipeline.tracking.results import tell_results
from dpok_pipeline.tracking.run_names import name_run
from dpok_pipeline.tracking.system_metrics import SystemMetrics

EVALUATION = "evaluation"


class TrackingHooks:
    """Hooks that open, fill and end the MLflow runs of a command."""

    def __init__(self) -> None:
        self._config: TrackingConfig | None = None
        self._catalog: CatalogProtocol | None = None
        self._journal: str | None = None
        self._interrupted_run: str | None = None
        self._run: TrackerAddress | None = None
        # Tags that the command's run shares with its child runs and its LoRAs.
        self._about: dict[str, str] = {}
        self._system = SystemMetrics()
        self._cost = TrackingCost()
        # Child runs of the nodes that have not finished, by the nodes' names.
        self._children: dict[str, TrackerAddress] = {}
        # By the nodes' names: the versions that a node has read, its base model, and the outputs
        # that it has saved, with their versions.
        self._versions_read: dict[str, dict[str, str]] = {}
        self._base_models: dict[str, Any] = {}
        self._saved: dict[str, dict[str, str | None]] = {}
        # Tags of the command's run that MLflow has not been told yet.
        self._tags: dict[str, str] = {}
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
        with MESSENGER.timed(), in_one_line():
            client = connect(self._config.tracking_uri)
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
        others = dict(self._about)
        if (algorithm := getattr(parameters.get("params:method"), "algorithm", None)) is not None:
            others["algorithm"] = str(algorithm)
        child = MESSENGER.tell(
            run.uri, f"the run {title}", lambda: open_child(run, experiment, method, others)
        )
        if child is None:
            return None
        self._children[node_name] = child

        def describe() -> None:
            # The names lose their namespaces, so that MLflow compares child runs by columns.
            namespaces = (f"{experiment}.", f"{method}.")
            log_parameters(child, parameter_groups(parameters, namespaces))
            read = self._versions_read.get(node_name, {})
            tags = {f"input.{name}": version for name, version in read.items()}
            set_tags(client_of(child.uri), child.run_id, tags)

        MESSENGER.tell(child.uri, f"parameters and inputs of {title}", describe)
        return child

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read where runs are tracked; a misspelt key is refused before anything runs."""
        self._config = read_tracking(context.config_loader)
        self._cost.begin()
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
        self._inputs, self._tags = set(), {}
        MESSENGER.begin()
        if self._config is None:
            return
        self._about = about(run_params)
        if self._journal is None:
            with MESSENGER.timed():
                connect(self._config.tracking_uri)
        try:
            with MESSENGER.timed(), in_one_line():
                name = name_run(run_params, pipeline)
                self._run = open_run(
                    self._config, run_params, name, self._journal, self._interrupted_run
                )
                names = [name for name in pipeline.inputs() if name.startswith("params:")]
                groups = parameter_groups({name: catalog.load(name) for name in names})
                log_parameters(self._run, groups)
        except Exception:
            self._end("FAILED")
            raise
        finally:
            self._journal = self._interrupted_run = None
        self._system.start(self._run)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Tag the version that was read, and log its digest if its catalog entry says so."""
        if hasattr(data, "content_hash"):
            self._base_models[node.name] = data
        version = self._version(dataset_name, "load")
        if self._run is None or version is None:
            return
        self._versions_read.setdefault(node.name, {})[dataset_name] = version
        if dataset_name in self._inputs:
            return
        self._inputs.add(dataset_name)
        self._tags[f"input.{dataset_name}"] = version
        if self._wishes(dataset_name).get("input"):
            client, run_id = client_of(self._run.uri), self._run.run_id
            path = self._path(dataset_name, version)
            MESSENGER.tell(
                self._run.uri,
                f"input {dataset_name}",
                lambda: log_input(client, run_id, dataset_name, data, path),
            )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Log what was written if its catalog entry says so.

        With the last of a node's outputs the versions of all that it has read and written become
        tags, and its child run ends.
        """
        if self._run is None or getattr(self._dataset(dataset_name), "unfinished", False):
            return
        child = self._children.get(node.name)
        saved = self._saved.setdefault(node.name, {})
        saved[dataset_name] = version = self._version(dataset_name, "save")
        if version is not None and self._wishes(dataset_name):
            run, base_model = child or self._run, self._base_models.get(node.name)
            MESSENGER.tell(
                run.uri,
                f"output {dataset_name}",
                lambda: self._log_output(run, dataset_name, version, base_model),
            )
        if not set(saved).issuperset(node.outputs):
            return
        outputs = {f"output.{name}": str(found) for name, found in saved.items() if found}
        self._tags |= outputs
        self._tell_tags(f"versions of {node.name}")
        if child is not None:
            del self._children[node.name]
            MESSENGER.tell(child.uri, f"the end of {child.name}", lambda: end_child(child, outputs))

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log what the command has found, and end its run."""
        if self._run is not None and self._config is not None:
            tell_results(self._run, self._config, pipeline, catalog)
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
        self._tell_tags("versions of what was read and written")
        run = self._run
        self._children, self._run = {}, None
        self._system.stop()
        if run is not None:
            self._cost.tell(run)
            client = client_of(run.uri)
            what = f"the end of {run.name}"
            MESSENGER.tell(run.uri, what, lambda: end_run(client, run.run_id, status))

    def _tell_tags(self, what: str) -> None:
        """Set the tags of the command's run that have come up since the last time, in one write."""
        run, tags, self._tags = self._run, self._tags, {}
        if run is not None and tags:
            MESSENGER.tell(run.uri, what, lambda: set_tags(client_of(run.uri), run.run_id, tags))

    def _log_output(self, run: TrackerAddress, name: str, version: str, base_model: Any) -> None:
        experiment = "" if self._config is None else self._config.experiment_name
        maker = Maker(base_model, self._sampling(), experiment, self._about)
        path, wishes = self._path(name, version), self._wishes(name)
        log_output(client_of(run.uri), run.run_id, name, path, wishes, maker)

    def _sampling(self) -> SamplingConfig | None:
        """Read how the command draws images; None where its parameters do not say."""
        if self._catalog is None or "params:sampling" not in self._catalog:
            return None
        return SamplingConfig.model_validate(self._catalog.load("params:sampling"))

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
        if isinstance(dataset, RegisteredDataset):
            return dataset.registered_version
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
