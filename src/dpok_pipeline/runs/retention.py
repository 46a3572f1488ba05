"""Finds old versions and the states of interrupted runs, and removes those that may go.

A version stays if it is among the newest of its dataset, if an interrupted run would go on from it,
or if MLflow names it: as input or output of a run with the tag `keep` = `true`, or of a run whose
model has an alias in the registry.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from kedro.io import AbstractVersionedDataset, CatalogProtocol

from dpok_pipeline.configuration.tracking import TrackingConfig, read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import lock_file, unlock_file
from dpok_pipeline.files.manifest import MANIFEST
from dpok_pipeline.pipelines.mlflow_store import connect, end_run, find_run, in_one_line
from dpok_pipeline.runs.finished import read_note
from dpok_pipeline.runs.journal import VERSION, Journal
from dpok_pipeline.runs.work import WORK, WorkFolders

LAYERS = "0[2-8]_*"
RUNS = WORK / "runs"
PAGE = 1000


class Entry(NamedTuple):
    """A folder with an old version or the state of an interrupted run.

    Attributes:
        path: Path of the folder.
        size: Size of its files in bytes.
        reason: Reason why the folder stays; empty if it may be removed.
    """

    path: Path
    size: int
    reason: str


class Plan(NamedTuple):
    """The folders of an environment besides the newest versions.

    Attributes:
        data: Data folder of the environment, with Kedro's layers in it.
        entries: Older and unfinished versions, and states of interrupted runs.
        tracking: Store and MLflow experiment of the environment.
    """

    data: Path
    entries: list[Entry]
    tracking: TrackingConfig

    @property
    def removable(self) -> list[Entry]:
        """The folders that nothing needs."""
        return [entry for entry in self.entries if not entry.reason]

    @property
    def needed(self) -> list[Entry]:
        """The folders that have a reason to stay."""
        return [entry for entry in self.entries if entry.reason]


def make_plan(env: str | None, keep: int, work: bool) -> Plan:
    """List what could be removed, and what MLflow and interrupted runs keep.

    Args:
        env: Name of the environment; None is Kedro's default.
        keep: Number of finished versions of each dataset that stay in any case, 1 or more.
        work: Whether the states of interrupted runs may be removed.

    Raises:
        InputError: MLflow does not answer.
    """
    from kedro.framework.session import KedroSession

    with KedroSession.create(env=env) as session:
        context = session.load_context()
        data = WorkFolders.of(context).data
        catalog = context.catalog
        tracking = read_tracking(context.config_loader)
    reasons = {} if work else versions_to_continue(data)
    reasons |= versions_in_mlflow(connect(tracking.tracking_uri), catalog, data)
    entries = list_versions(data, keep, reasons)
    states = list_work(data)
    if not work:
        states = [entry._replace(reason="an interrupted run's state; --work") for entry in states]
    return Plan(data, [*entries, *states], tracking)


def list_versions(data: Path, keep: int, reasons: Mapping[Path, str]) -> list[Entry]:
    """List every version of every dataset, but the newest finished ones.

    Args:
        data: Data folder of the environment, with Kedro's layers in it.
        keep: Number of finished versions of each dataset that stay in any case, 1 or more.
        reasons: Reasons to keep older versions, by the folders of the versions.

    Returns:
        One entry per version. Unfinished versions are among them, however new they are.
    """
    datasets: dict[Path, list[Path]] = {}
    for folder in _folders(data):
        if re.fullmatch(VERSION, folder.name):
            datasets.setdefault(folder.parent, []).append(folder)
    older: list[Path] = []
    for dataset, versions in datasets.items():
        finished = [version for version in versions if (version / dataset.name).exists()]
        newest = set(finished[-keep:])
        older += [version for version in versions if version not in newest]
    return [Entry(path, size_of(path), reasons.get(path, "")) for path in older]


def list_work(data: Path) -> list[Entry]:
    """List the states of interrupted runs: checkpoints, shards and journals."""
    folders = [*(data / WORK).glob("*/*")]
    states = [path for path in folders if path.is_dir() and path.name != "finished"]
    entries = [Entry(path, size_of(path), "") for path in sorted(states)]
    return [entry for entry in entries if entry.size]


def versions_to_continue(data: Path) -> dict[Path, str]:
    """Return the versions that interrupted runs have made and would go on from, with the reason."""
    reasons: dict[Path, str] = {}
    for path in sorted((data / RUNS).glob("*/*.json")):
        if path.parent.name != "finished" and (journal := Journal.read(path)) is not None:
            for folder in _folders(data, journal.version):
                reasons[folder] = f"an interrupted run goes on from it ({path.name})"
    return reasons


def versions_in_mlflow(client: Any, catalog: CatalogProtocol, data: Path) -> dict[Path, str]:
    """Return the versions that MLflow keeps, each with the reason.

    They are those that tagged runs, and runs of models with an alias, have read or written.

    Raises:
        InputError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    reasons: dict[Path, str] = {}
    try:
        for run, reason in (*_tagged_runs(client), *_runs_of_aliased_models(client)):
            for folder in _versions_of(run, catalog, data):
                reasons.setdefault(folder, reason)
    except MlflowException as error:
        raise InputError(
            f"MLflow does not say what to keep ({str(error).splitlines()[0]}); nothing is "
            "removed, correct MLFLOW_TRACKING_URI or start its server"
        ) from error
    return reasons


def describe_plan(plan: Plan) -> Iterator[str]:
    """Say in lines what could be removed, and what stays and why, with the sizes."""
    for title, entries in (("could be removed", plan.removable), ("kept", plan.needed)):
        total = sum(entry.size for entry in entries)
        yield f"{len(entries)} {title}, {_megabytes(total)}"
        for path, size, reason in entries:
            remark = f"  ({reason})" if reason else ""
            yield f"  {_megabytes(size):>12}  {path.relative_to(plan.data)}{remark}"


def refuse_while_running(data: Path) -> None:
    """Refuse to remove anything while a run or a sweep is going on.

    Every lock below the work folder counts: those of commands, which they hold from begin to end,
    and those of the folders that somebody trains or draws in.

    Raises:
        InputError: A run or a sweep is going on.
    """
    locks = [
        Path(folder, name)
        for folder, _, names in os.walk(data / WORK)
        for name in names
        if name.endswith(".lock")
    ]
    for path in sorted(locks):
        # One that was killed has left its file, which is removed here.
        unlock_file(lock_file(path, f"{path}: a run is going on; wait until it has ended"))


def end_runs(entries: Iterable[Entry], tracking: TrackingConfig) -> None:
    """End in MLflow, as killed, the interrupted runs whose journals are to be removed.

    Raises:
        InputError: MLflow does not answer, or a journal is damaged.
    """
    client = connect(tracking.tracking_uri)
    for path in (path for entry in entries for path in sorted(entry.path.glob("*.json"))):
        journal = Journal.read(path) if path.parent.parent.name == RUNS.name else None
        with in_one_line():
            if journal and (run_id := find_run(client, tracking, journal.key)) is not None:
                end_run(client, run_id, "KILLED")


def remove(entries: Iterable[Entry], data: Path) -> None:
    """Remove the folders of entries, and the notes of the whole runs that they belong to."""
    versions = set()
    for entry in entries:
        for manifest in entry.path.glob(f"*/{MANIFEST}"):
            manifest.unlink()  # A version that is removed in part must not exist any more.
        shutil.rmtree(entry.path)
        versions.add(entry.path.name)
    for note in (data / RUNS / "finished").glob("*.json"):
        if read_note(note) in versions:
            note.unlink()


def size_of(path: Path) -> int:
    """Add up the sizes of a folder's files, in bytes; what is removed meanwhile has none."""
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(folder, name).stat().st_size
    return size


def _folders(data: Path, name: str = "") -> Iterator[Path]:
    """Yield the folders of all layers, or those of one name, sorted within each folder.

    Work is left out, where a run that is going on makes and removes folders.
    """
    for layer in sorted(data.glob(LAYERS)):
        for parent, names, _ in os.walk(layer):
            names[:] = sorted(one for one in names if Path(parent, one) != data / WORK)
            yield from (Path(parent, one) for one in names if name in ("", one))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _tagged_runs(client: Any) -> Iterator[tuple[Any, str]]:
    """Yield the runs with the tag `keep`, each with the reason to keep it."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_runs(
            experiments, "tags.keep ILIKE 'true'", max_results=PAGE, page_token=token
        )
        for run in page:
            yield run, f"MLflow run {run.info.run_name} has the tag keep=true"
        token = page.token
        if not token:
            return


def _runs_of_aliased_models(client: Any) -> Iterator[tuple[Any, str]]:
    """Yield the runs of registered models with an alias, each with the reason to keep it."""
    token = None
    while True:
        page = client.search_registered_models(max_results=PAGE, page_token=token)
        for model in page:
            for alias, number in model.aliases.items():
                version = client.get_model_version(model.name, number)
                reason = f"model {model.name} has the alias {alias}"
                if version.run_id:
                    yield client.get_run(version.run_id), reason
        token = page.token
        if not token:
            return


def _versions_of(run: Any, catalog: CatalogProtocol, data: Path) -> Iterator[Path]:
    """Yield the folders of the versions that a run's tags name."""
    for key, version in run.data.tags.items():
        kind, _, name = key.partition(".")
        if kind not in ("input", "output") or not re.fullmatch(VERSION, version):
            continue
        dataset = catalog.get(name)
        if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
            yield Path(dataset._get_versioned_path(version)).parent
        else:  # The entry may have been renamed: it is safer to keep too much.
            yield from _folders(data, version)
