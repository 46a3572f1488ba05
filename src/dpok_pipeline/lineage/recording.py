"""Hooks that write the record of every version as it is saved."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Node

from dpok_pipeline.configuration.tracking import TrackingConfig, read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import fingerprint, flatten
from dpok_pipeline.files.git import describe_run_commit
from dpok_pipeline.lineage.again import command_of
from dpok_pipeline.lineage.chain import Archive
from dpok_pipeline.lineage.links import Reported
from dpok_pipeline.lineage.records import (
    Command,
    Record,
    Source,
    TrackedRun,
    content_digest,
    shown_path,
    write_record,
)
from dpok_pipeline.lineage.tracked import Store, makers
from dpok_pipeline.pipelines.graph import TRACED
from dpok_pipeline.pipelines.mlflow_store import (
    MESSENGER,
    NOTE,
    check_present,
    client_of,
    in_one_line,
)
from dpok_pipeline.pipelines.task import Task, TrackerAddress
from dpok_pipeline.report.provenance import Lineage
from dpok_pipeline.runs.identity import identify

#: Fields of a catalog entry that name a file or folder; a hub id may be one, too.
PATHS = ("path", "clip_path", "hub_id")


class OpenRuns(Protocol):
    """Where a command is tracked: its run in MLflow, and those of its nodes."""

    @property
    def run(self) -> TrackerAddress | None:
        """The command's run; None while none is open."""
        ...

    def child_of(self, node_name: str) -> TrackerAddress | None:
        """Return the run of a node that is under way; None for one that has none."""
        ...


class LineageHooks:
    """Hooks that note what nodes read, and write a record beside each version that they save.

    Args:
        tracking: Says where the command is tracked.
    """

    def __init__(self, tracking: OpenRuns) -> None:
        self._tracking = tracking
        self._project = Path()
        self._catalog: CatalogProtocol | None = None
        self._command: Command | None = None
        # By the nodes' names: what each has read, and its parameters.
        self._sources: dict[str, dict[str, Source]] = {}
        self._parameters: dict[str, dict[str, Any]] = {}
        # The command's MLflow experiment, which is asked for once.
        self._experiment: str | None = None
        self._asked = False
        self._tracking_config: TrackingConfig | None = None

    def lineage(self, node: Node) -> Lineage | None:
        """Describe where what a node has read comes from, for the page that it writes.

        Returns:
            The description; None for a node that shows none.
        """
        if TRACED not in node.tags or self._catalog is None or self._command is None:
            return None
        if self._tracking_config is None:
            return None
        (name,) = node.outputs
        place = Place(self._catalog, self._project, self._tracking_config, self._command.env)
        return place.lineage(name, self._sources_of(node))

    def _sources_of(self, node: Node) -> tuple[Source, ...]:
        return tuple(self._sources.get(node.name, {}).values())

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the project's folder, which records name files relative to, and MLflow's store."""
        self._project = Path(context.project_path)
        self._tracking_config = read_tracking(context.config_loader)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Describe the command once, as all of its records have it."""
        self._catalog, self._experiment, self._asked = catalog, None, False
        self._sources, self._parameters = {}, {}
        self._command = describe_command(run_params, self._project)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        """Note what a node reads: the version and digest of a dataset, the values of a group."""
        if self._catalog is None:
            return
        if not is_parameter(dataset_name):
            source = describe_source(
                dataset_name, self._catalog.get(dataset_name), data, self._project
            )
            self._sources.setdefault(node.name, {})[dataset_name] = source
        elif not isinstance(data, Task):
            values = flatten({dataset_name.removeprefix("params:"): data})
            self._parameters.setdefault(node.name, {}).update(_as_json(values))

    # Tracking comes after this hook, and ends a node's run with its last output.
    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the record of the version that was saved."""
        if self._catalog is None or self._command is None:
            return
        details = {
            "node": node.name,
            "inputs": self._sources_of(node),
            "parameters": self._parameters.get(node.name, {}),
            "command": self._command,
            "run": self._tracked(self._tracking.run),
            "child": self._tracked(self._tracking.child_of(node.name)),
        }
        record = record_saved(self._catalog, dataset_name, self._project, details)
        if dataset_name == node.outputs[0]:
            self._describe_child(record, node)

    def _describe_child(self, record: Record | None, node: Node) -> None:
        """Let the page of a node's run say how to see what its first output was made from."""
        child = self._tracking.child_of(node.name)
        if child is None or record is None:
            return
        command = command_of(record.name, record.version, record.command.env)
        text = f"What it was made from: `{command}`"
        MESSENGER.tell(
            child.uri,
            f"the description of {child.name}",
            lambda: client_of(child.uri).set_tag(child.run_id, NOTE, text),
        )

    def _tracked(self, address: TrackerAddress | None) -> TrackedRun | None:
        """Return what a record says of a run in MLflow; None if there is none."""
        if address is None:
            return None
        if not self._asked:
            self._asked, self._experiment = True, _experiment_of(address)
        return TrackedRun(experiment_id=self._experiment, run_id=address.run_id, name=address.name)


def _experiment_of(address: TrackerAddress) -> str | None:
    """Ask for the MLflow experiment of a run; None if MLflow has gone away since it was opened."""
    try:
        check_present(address.uri)
        with in_one_line():
            return str(client_of(address.uri).get_run(address.run_id).info.experiment_id)
    except (InputError, OSError):
        return None


class Place(NamedTuple):
    """Where a report is written.

    Attributes:
        catalog: Catalog of the environment.
        project: The project's folder.
        tracking: Store of the runs.
        env: The environment; None is Kedro's default.
    """

    catalog: CatalogProtocol
    project: Path
    tracking: TrackingConfig
    env: str | None

    def lineage(self, name: str, sources: Sequence[Source]) -> Lineage:
        """Describe where the numbers of a report come from.

        Args:
            name: The report's name in the catalog.
            sources: What it is written from.
        """
        dataset: Any = self.catalog.get(name)
        page = Path(dataset._get_versioned_path(dataset.resolve_save_version()))
        store = Store(self.tracking, makers())
        archive = Archive(self.catalog, self.project, memory=store, compare=False)
        return Reported(archive, store, page, self.project, self.env).lineage(name, sources)


def record_saved(
    catalog: CatalogProtocol, name: str, project: Path, details: Mapping[str, Any]
) -> Record | None:
    """Write the record of a version that was saved just now.

    Args:
        catalog: Catalog that has saved it.
        name: The dataset's name.
        project: The project's folder.
        details: The record's fields but for what the dataset itself says.

    Returns:
        The record; None for a dataset without versions, which has none.
    """
    dataset = catalog.get(name)
    if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
        return None
    version = dataset.resolve_save_version()
    path = Path(dataset._get_versioned_path(version))
    record = Record(
        name=name,
        version=version,
        path=shown_path(path, project),
        digest=content_digest(path),
        **details,
    )
    write_record(path.parent, record)
    return record


def describe_command(run_params: Mapping[str, Any], project: Path) -> Command:
    """Describe how a command was started.

    Args:
        run_params: Description of the run that Kedro passes to its hooks.
        project: The project's folder.
    """
    commit = describe_run_commit(project, run_params.get("env"))
    return Command(
        text=shlex.join(["kedro", *sys.argv[1:]]),
        started=run_params["run_id"],
        env=run_params.get("env"),
        parameters=_as_json(flatten(run_params.get("runtime_params") or {})),
        commit=None if commit is None else commit.sha,
        dirty=commit is not None and commit.dirty,
    )


def describe_source(name: str, dataset: Any, data: Any, project: Path) -> Source:
    """Describe something that a node has read.

    Args:
        name: The dataset's name in the catalog.
        dataset: Its entry in the catalog.
        data: What was loaded; None from a dataset that may be absent.
        project: The project's folder, which paths are relative to.
    """
    if (registered := getattr(dataset, "registered_version", None)) is not None:
        path = Path(dataset.local_path)
        digest = content_digest(path)
        return Source(
            name=name, version=registered, digest=digest, files={shown_path(path, project): digest}
        )
    if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
        if data is None:
            return Source(name=name)
        version = dataset.resolve_load_version()
        path = Path(dataset._get_versioned_path(version))
        return Source(name=name, version=version, digest=content_digest(path))
    files = {_shown(path, project): content_digest(path) for path in files_of(dataset)}
    return Source(name=name, digest=_digest(dataset, data, files), files=files)


def files_of(dataset: Any) -> list[Path]:
    """List the files and folders that a catalog entry without versions names and that exist."""
    if (own := getattr(dataset, "_filepath", None)) is not None:
        named = [own]
    else:
        fields = flatten(dataset._describe())
        named = [value for key, value in fields.items() if key.rpartition(".")[2] in PATHS]
    paths = (Path(value) for value in dict.fromkeys(map(str, named)))
    return [path for path in paths if path.exists()]


def _shown(path: Path, project: Path) -> str:
    """Return a path as records have it, with a slash at the end of a folder's."""
    shown = shown_path(path, project)
    return f"{shown}/" if path.is_dir() else shown


def _digest(dataset: Any, data: Any, files: Mapping[str, str]) -> str:
    """Return one sha256 for what was read: a model's own, or that of all files."""
    if getattr(dataset, "_filepath", None) is not None or getattr(dataset, "may_change", False):
        return fingerprint(files)
    try:
        return identify(data)
    except TypeError:  # an entry of the user's own, whose data cannot be written as JSON
        return fingerprint(files)


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they can stand in a JSON file, those of other types as texts."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)
