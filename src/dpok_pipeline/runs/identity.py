"""What a run is made from, as flat names and values that two runs can be compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import VersionNotFoundError, is_parameter
from kedro.pipeline import Pipeline
from pydantic import BaseModel

from dpok_pipeline.datasets.tracker import TrackerDataset
from dpok_pipeline.datasets.work_folder import WorkFolderDataset
from dpok_pipeline.files.manifest import describe

# Fields that change no number: how a run starts, how often it saves, how often it writes down. And
# two batch sizes, which change rounding only: a network's in world_building is part of training it.
NOT_COMPARED = (
    ".resume", ".checkpoint_minutes", ".checkpoint_every", ".checkpoints_kept", ".log_every",
    ".log_images_every", ".sample_generation.batch_size", ".evaluation.batch_size",
)  # fmt: skip
# The parts of the package that no number depends on.
NOT_HASHED = ("hooks",)
PACKAGE = Path(__file__).parents[1]

Identity = dict[str, str]


def describe_run(pipeline: Pipeline, catalog: CatalogProtocol) -> Identity:
    """Describe everything that a run's outputs depend on, but for the code.

    Args:
        pipeline: The nodes that are to run.
        catalog: With the run's parameters in it.

    Returns:
        Every parameter by its dotted name; for each dataset that is only read, its version, or a
        hash of what it names: models, scorers, prompt files.
    """
    names = sorted(pipeline.inputs())
    given = {name.removeprefix("params:"): catalog.load(name) for name in filter(_is_group, names)}
    identity = {
        key: str(value)
        for key, value in flatten(given).items()
        if not f".{key}".endswith(NOT_COMPARED)
    }
    for name in names:
        if not is_parameter(name):
            content = _content(catalog, name)
            identity |= {} if content is None else {name: content}
    return identity


def describe_whole_run(pipeline: Pipeline, catalog: CatalogProtocol) -> Identity:
    """Describe everything that a run's outputs depend on, the code among it."""
    return {**describe_run(pipeline, catalog), "code": hash_code()}


def hash_code() -> str:
    """Hash the sources that numbers depend on: the package's parts, hooks left out."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        if path.relative_to(PACKAGE).parts[0] not in NOT_HASHED:
            digest.update(f"{path.relative_to(PACKAGE)}\n{describe(path)['sha256']}\n".encode())
    return digest.hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Say in words how two identities differ, one phrase per name."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, "absent"), now.get(name, "absent")
        if old != new:
            yield f"{name} was {_short(old)} and is {_short(new)} now"


def flatten(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Write nested and typed parameters with dotted names.

    Example:
        >>> flatten({"lora": {"rank": 4}, "experiment": "color"})
        {'lora.rank': 4, 'experiment': 'color'}
    """
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        content = value.model_dump() if isinstance(value, BaseModel) else value
        if isinstance(content, dict):
            flat |= {f"{key}.{name}": inner for name, inner in flatten(content).items()}
        else:
            flat[key] = content
    return flat


def _is_group(name: str) -> bool:
    return name.startswith("params:")


def _content(catalog: CatalogProtocol, name: str) -> str | None:
    """Give what identifies a dataset that is only read; None for one that holds no data."""
    dataset = catalog.get(name)
    if isinstance(dataset, WorkFolderDataset | TrackerDataset):
        return None
    if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
        try:
            return str(dataset.resolve_load_version())
        except VersionNotFoundError:
            return "absent"
    if (folder := getattr(dataset, "_filepath", None)) is not None:
        return _hash_files(Path(folder))
    return _identify(catalog.load(name))


def _identify(loaded: Any) -> str:
    """Hash what a catalog entry names: a model handle, scorers, a folder, prompts."""
    from dpok_pipeline.pipelines.models import scorer_identity

    if hasattr(loaded, "content_hash"):
        return str(loaded.content_hash)
    if isinstance(loaded, BaseModel):
        loaded = scorer_identity(loaded)  # type: ignore[arg-type]
    elif isinstance(loaded, Path):
        return _hash_files(loaded)
    elif isinstance(loaded, dict):
        loaded = {key: _identify(value) for key, value in loaded.items()}
    return hashlib.sha256(json.dumps(loaded, sort_keys=True).encode()).hexdigest()


def _hash_files(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n{describe(file)['sha256']}\n".encode())
    return digest.hexdigest()


def _short(value: str) -> str:
    """Cut a hash to what is needed to tell it from another."""
    return f"{value[:12]}…" if len(value) == 64 else value
