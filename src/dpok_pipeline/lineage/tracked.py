"""What MLflow adds to the records: how runs have ended, registered models, links; older tags.

Nothing here creates a store: one that is away, or gone, is said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from kedro.framework.project import pipelines
from kedro.io.core import is_parameter
from kedro.pipeline import Node

from dpok_pipeline.configuration.tracking import TrackingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.lineage.chain import REGISTERED
from dpok_pipeline.lineage.records import Command, Record, Source, TrackedRun
from dpok_pipeline.pipelines.mlflow_store import PARENT, check_present, client_of, in_one_line

Answer = TypeVar("Answer")

#: Tags of a registered version: the dataset's name and version in the catalog, and its digest.
DATASET, DATASET_VERSION, CONTENT = "dataset", "dataset_version", "content"
#: What MLflow answers when there is no such run, model or version.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
#: Where `kedro mlflow ui` serves MLflow's pages.
LOCAL_PAGES = "http://127.0.0.1:5000"


class RunState(NamedTuple):
    """A run as MLflow has it now.

    Attributes:
        name: Its name.
        status: How it has ended, `FINISHED` for example; `deleted` for one in MLflow's bin.
    """

    name: str
    status: str


class ModelVersion(NamedTuple):
    """A LoRA in MLflow's registry.

    Attributes:
        name: Name of the registered model.
        version: Number of its version.
        aliases: Names that point to this version.
    """

    name: str
    version: str
    aliases: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Name, version and aliases as a person reads them."""
        alias = f" (@{', @'.join(self.aliases)})" if self.aliases else ""
        return f"{self.name} version {self.version}{alias}"


class Pages:
    """Addresses of MLflow's pages.

    Args:
        config: Store of the runs.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self.address = pages_address(config.tracking_uri)

    def run(self, run: TrackedRun) -> str:
        """Return the address of a run's page; empty if its experiment is not known."""
        if run.experiment_id is None:
            return ""
        return f"{self.address}/#/experiments/{run.experiment_id}/runs/{run.run_id}"

    def model(self, model: ModelVersion) -> str:
        """Return the address of a registered model version's page."""
        return f"{self.address}/#/models/{quote(model.name, safe='')}/versions/{model.version}"


def makers() -> dict[str, Node]:
    """Return the nodes of all pipelines by the datasets that they make."""
    pipelines.set_requested(None)  # Kedro may have been asked for some of them only.
    nodes = (node for pipeline in pipelines.values() for node in pipeline.nodes)
    return {name: node for node in nodes for name in node.outputs}


def pages_address(uri: str) -> str:
    """Return the address of a store's pages, without a user's name and password.

    A database has none of its own: `kedro mlflow ui` serves them.
    """
    if not uri.startswith(("http://", "https://")):
        return LOCAL_PAGES
    parts = urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))


class Store:
    """The MLflow store of an environment, as far as it answers.

    Attributes:
        pages: Addresses of its pages.
        trouble: Why it does not answer; empty while it does.

    Args:
        config: Store and MLflow experiment of the environment.
        makers: Nodes of all pipelines by the datasets that they make.
    """

    def __init__(self, config: TrackingConfig, makers: Mapping[str, Node]) -> None:
        self.pages = Pages(config)
        self.trouble = ""
        self._config, self._makers = config, makers
        self._runs: dict[str, Any] = {}
        experiment = self._ask(
            lambda: self._client.get_experiment_by_name(config.experiment_name), None
        )
        self._experiment = None if experiment is None else str(experiment.experiment_id)

    def state(self, run: TrackedRun) -> RunState | None:
        """Return a run as it is now; None if MLflow does not have it."""
        found = self._run(run.run_id)
        if found is None:
            return None
        deleted = found.info.lifecycle_stage != "active"
        return RunState(found.info.run_name, "deleted" if deleted else found.info.status)

    def models(self, run: TrackedRun) -> list[ModelVersion]:
        """List what is registered of a run's LoRA."""
        return self._ask(lambda: self._models(run.run_id), [])

    def remembered(self, name: str, version: str) -> tuple[Record, str] | None:
        """Make a record of a version that has none, from the tags of the runs that made it.

        A run that is one node's own names exactly what the node has read. Of other nodes it is
        known which of their inputs, as the pipelines have them now, the command had read.

        Returns:
            The record, and in words what it lacks; None if MLflow has no such version.
        """
        if self._experiment is None:
            return None
        node = self._makers.get(name)
        condition = f"tags.`output.{name}` = '{version}'"
        runs: list[Any] = self._ask(
            lambda: self._client.search_runs([self._experiment], condition), []
        )
        parents = [run for run in runs if PARENT not in run.data.tags]
        if node is None or not parents:
            return None
        parent = parents[0]
        child = next((run for run in runs if PARENT in run.data.tags), None)
        tags = parent.data.tags if child is None else child.data.tags
        names = [one for one in node.inputs if not is_parameter(one)]
        lacking = [one for one in names if f"input.{one}" not in tags]
        words = f"MLflow's tags do not say which {', '.join(lacking)} it read" if lacking else ""
        record = Record(
            name=name,
            version=version,
            path=name,
            digest="",
            node=node.name,
            inputs=tuple(
                Source(name=one, version=tags[f"input.{one}"])
                for one in names
                if f"input.{one}" in tags
            ),
            command=_command(parent),
            run=_tracked(parent),
            child=None if child is None else _tracked(child),
        )
        return record, words

    def registered(self, uri: str) -> Source | None:
        """Return the version in the catalog that a registered LoRA is of.

        Args:
            uri: `models:/NAME/3`.

        Returns:
            Name, version and digest, from the tags of the registered version; None if it is not
            there, or was registered by hand.
        """
        name, _, number = uri.removeprefix(REGISTERED).rpartition("/")
        tags: dict[str, str] = self._ask(
            lambda: dict(self._client.get_model_version(name, number).tags), {}
        )
        if DATASET not in tags or DATASET_VERSION not in tags:
            return None
        return Source(name=tags[DATASET], version=tags[DATASET_VERSION], digest=tags.get(CONTENT))

    @property
    def _client(self) -> Any:
        return client_of(self._config.tracking_uri)

    def _run(self, run_id: str) -> Any:
        """Return a run of MLflow's; None if it has none of this id."""
        if run_id not in self._runs:
            self._runs[run_id] = self._ask(lambda: self._client.get_run(run_id), None)
        return self._runs[run_id]

    def _models(self, run_id: str) -> list[ModelVersion]:
        found = self._client.search_model_versions(f"run_id = '{run_id}'")
        # What a search returns has no aliases.
        versions = [self._client.get_model_version(one.name, one.version) for one in found]
        return [
            ModelVersion(one.name, str(one.version), tuple(sorted(one.aliases))) for one in versions
        ]

    def _ask(self, question: Callable[[], Answer], otherwise: Answer) -> Answer:
        """Ask MLflow; return something else if it does not have it, or does not answer any more."""
        if self.trouble:
            return otherwise
        try:
            check_present(self._config.tracking_uri)
            with in_one_line():
                return question()
        except (InputError, OSError) as error:
            if getattr(error.__cause__, "error_code", None) not in ABSENT:
                # Of in_one_line's sentence, the remedy is for commands that need MLflow.
                self.trouble = str(error).partition("; ")[0]
            return otherwise


def _tracked(run: Any) -> TrackedRun:
    return TrackedRun(
        experiment_id=str(run.info.experiment_id), run_id=run.info.run_id, name=run.info.run_name
    )


def _command(run: Any) -> Command:
    """Read from a run's tags how its command was started."""
    tags = run.data.tags
    return Command(
        text=tags.get("command", "unknown"),
        started=tags.get("run_id", "unknown"),
        env=tags.get("env"),
        commit=tags.get("git.sha"),
        dirty=tags.get("git.dirty") == "true",
    )
