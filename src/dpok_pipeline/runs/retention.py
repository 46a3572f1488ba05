"""Which old versions and states of interrupted runs there are, and which of them may go.

A version stays if it is among the newest of its dataset, if an interrupted run would go on from it,
or if MLflow names it: as input or output of a run with the tag `keep` = `true`, or of a run whose
model has an alias in the registry.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from kedro.io import AbstractVersionedDataset, CatalogProtocol

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.json_files import read_json
from dpok_pipeline.files.manifest import MARKER

LAYERS = "0[2-8]_*"
WORK = Path("06_models", "work")
RUNS = WORK / "runs"
VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
PAGE = 1000


class Entry(NamedTuple):
    """A folder that may be removed, or is kept.

    Attributes:
        path: The folder.
        size: In bytes.
        kept: Why it stays; empty if it may go.
    """

    path: Path
    size: int
    kept: str


class Plan(NamedTuple):
    """What an environment has besides the newest versions.

    Attributes:
        data: Its data folder, with Kedro's layers in it.
        entries: Older and unfinished versions, and states of interrupted runs.
    """

    data: Path
    entries: list[Entry]


def make_plan(env: str | None, keep: int, work: bool) -> Plan:
    """Find out what could be removed, and what MLflow and interrupted runs keep.

    Args:
        env: The environment; None is Kedro's default.
        keep: How many finished versions of each dataset stay in any case, 1 or more.
        work: Whether the states of interrupted runs may go.

    Raises:
        InputError: MLflow gives no answer.
    """
    import mlflow
    from kedro.framework.session import KedroSession

    with KedroSession.create(env=env) as session:
        context = session.load_context()
        data = Path(context.project_path, context.config_loader["globals"]["data"])
        catalog = context.catalog
    kept = {} if work else versions_to_continue(data)
    kept |= versions_in_mlflow(mlflow.MlflowClient(), catalog, data)
    entries = list_versions(data, keep, kept)
    states = list_work(data)
    if not work:
        states = [entry._replace(kept="an interrupted run's state; --work") for entry in states]
    return Plan(data, [*entries, *states])


def list_versions(data: Path, keep: int, kept: Mapping[Path, str]) -> list[Entry]:
    """List every version of every dataset, but the newest finished ones.

    Args:
        data: The environment's data folder, with Kedro's layers in it.
        keep: How many finished versions of each dataset stay in any case, 1 or more.
        kept: Versions that stay, with the reason.

    Returns:
        One entry per version; unfinished ones are among them however new they are.
    """
    datasets: dict[Path, list[Path]] = {}
    for layer in sorted(data.glob(LAYERS)):
        for folder in sorted(layer.rglob("*")):
            inside = folder.relative_to(data)
            if VERSION.fullmatch(folder.name) and folder.is_dir() and WORK not in inside.parents:
                datasets.setdefault(folder.parent, []).append(folder)
    older: list[Path] = []
    for dataset, versions in datasets.items():
        finished = [version for version in versions if (version / dataset.name).exists()]
        newest = set(finished[-keep:])
        older += [version for version in versions if version not in newest]
    return [Entry(path, size_of(path), kept.get(path, "")) for path in older]


def list_work(data: Path) -> list[Entry]:
    """List the states of interrupted runs: checkpoints, shards and journals."""
    folders = [*(data / WORK).glob("*/*")]
    states = [path for path in folders if path.is_dir() and path.name != "finished"]
    entries = [Entry(path, size_of(path), "") for path in sorted(states)]
    return [entry for entry in entries if entry.size]


def versions_to_continue(data: Path) -> dict[Path, str]:
    """Find the versions that interrupted runs have made and would go on from."""
    found: dict[Path, str] = {}
    for path in sorted((data / RUNS).glob("*/*.json")):
        if path.parent.name != "finished" and (journal := read_json(path)) is not None:
            version = str(journal.get("version"))
            for folder in data.glob(f"{LAYERS}/**/{version}"):
                found[folder] = f"an interrupted run goes on from it ({path.name})"
    return found


def versions_in_mlflow(client: Any, catalog: CatalogProtocol, data: Path) -> dict[Path, str]:
    """Find the versions that kept runs, and runs of models with an alias, have read or written.

    Raises:
        InputError: MLflow gives no answer.
    """
    from mlflow.exceptions import MlflowException

    found: dict[Path, str] = {}
    try:
        for run, reason in (*_kept_runs(client), *_runs_of_aliased_models(client)):
            for folder in _named_by(run, catalog, data):
                found.setdefault(folder, reason)
    except MlflowException as error:
        raise InputError(
            f"MLflow does not say what to keep ({str(error).splitlines()[0]}); nothing is "
            "removed, correct MLFLOW_TRACKING_URI or start its server"
        ) from error
    return found


def describe_plan(plan: Plan) -> Iterator[str]:
    """Say in lines what could be removed, what stays and why, and how much it is."""
    going = [entry for entry in plan.entries if not entry.kept]
    staying = [entry for entry in plan.entries if entry.kept]
    for title, entries in (("could be removed", going), ("kept", staying)):
        total = sum(entry.size for entry in entries)
        yield f"{len(entries)} {title}, {_megabytes(total)}"
        for path, size, kept in entries:
            reason = f"  ({kept})" if kept else ""
            yield f"  {_megabytes(size):>12}  {path.relative_to(plan.data)}{reason}"


def refuse_while_running(data: Path) -> None:
    """Refuse to remove anything while a run is going on.

    Raises:
        InputError: One is.
    """
    for path in sorted((data / RUNS).glob("*/*.lock")):
        try:
            with FileLock(path, timeout=0):
                path.unlink()  # left by a run that was killed
        except Timeout:
            raise InputError(f"{path}: a run is going on; wait until it has ended") from None


def remove(entries: Iterable[Entry], data: Path) -> None:
    """Remove entries, and the notes of whole runs that they belong to."""
    versions = set()
    for entry in entries:
        for marker in entry.path.glob(f"*/{MARKER}"):
            marker.unlink()  # first: a version that is half removed does not exist
        shutil.rmtree(entry.path)
        versions.add(entry.path.name)
    for note in (data / RUNS / "finished").glob("*.json"):
        content = read_json(note)
        if content is not None and content.get("version") in versions:
            note.unlink()


def size_of(path: Path) -> int:
    """Add up a folder's files, in bytes."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _kept_runs(client: Any) -> Iterator[tuple[Any, str]]:
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


def _named_by(run: Any, catalog: CatalogProtocol, data: Path) -> Iterator[Path]:
    """Find the folders of the versions that a run's tags name."""
    for key, version in run.data.tags.items():
        kind, _, name = key.partition(".")
        if kind not in ("input", "output") or not VERSION.fullmatch(version):
            continue
        dataset = catalog.get(name)
        if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
            yield Path(dataset._get_versioned_path(version)).parent
        else:  # an entry that has been renamed: rather too much
            yield from data.glob(f"{LAYERS}/**/{version}")
