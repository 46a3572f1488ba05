"""The identity of a run: everything that its outputs depend on, by flat names."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import VersionNotFoundError, is_parameter
from kedro.pipeline import Pipeline
from pydantic import BaseModel

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.pipelines.models import hash_files, scorer_identity
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.runs.code import PACKAGE, hash_code
from dpok_pipeline.tracking.registered import RegisteredDataset

Identity = dict[str, Any]


def describe_run(pipeline: Pipeline, catalog: CatalogProtocol) -> Identity:
    """Describe everything that a run's outputs depend on, but for the code.

    Args:
        pipeline: The nodes that are to run.
        catalog: Catalog of the run, with its parameters.

    Returns:
        Every parameter by its dotted name; for each dataset that is only read, its version, or a
        hash of the models, scorers or prompt files that it names; the names of all experiments
        that nodes work on. Fields that are marked as bookkeeping, and what else a task says, decide
        no number and are left out, and so are datasets with the mark `may_change`.
    """
    names = sorted(pipeline.inputs())
    groups = {name: catalog.load(name) for name in names if name.startswith("params:")}
    compared = {
        name.removeprefix("params:"): group.numbers() if isinstance(group, FrozenConfig) else group
        for name, group in groups.items()
        if not isinstance(group, Task)
    }
    identity = {key: _as_in_json(value) for key, value in flatten(compared).items()}
    # What is compared over all experiments must be made again when there is another one.
    tasks = {group.experiment for group in groups.values() if isinstance(group, Task)}
    if tasks:
        identity["experiments"] = ", ".join(sorted(tasks))
    for name in names:
        if not is_parameter(name) and not getattr(catalog.get(name), "may_change", False):
            identity[name] = _content(catalog, name)
    return identity


def describe_whole_run(pipeline: Pipeline, catalog: CatalogProtocol) -> Identity:
    """Describe everything that a run's outputs depend on, the code among it.

    Raises:
        InputError: The code has changed since this process began.
    """
    return {**describe_run(pipeline, catalog), "code": unchanged_code()}


def unchanged_code() -> str:
    """Hash the code that a run which starts now is made by.

    Raises:
        InputError: The sources have changed since this process began. It goes on with the modules
            that it has imported, and its workers would import the new ones.
    """
    if (code := hash_code()) != code_in_memory():
        raise InputError(
            f"{PACKAGE}: the code has changed since this command began, and its old code is what "
            "runs here; give the command again, or restart the notebook"
        )
    return code


@cache
def code_in_memory() -> str:
    """Hash the sources as this process has found them when it first asked, as it began."""
    return hash_code()


def _as_in_json(value: Any) -> Any:
    """Return a value as it comes back from a journal."""
    return value if isinstance(value, str | int | float | None) else str(value)


def _content(catalog: CatalogProtocol, name: str) -> str:
    """Return a version or hash that identifies the content of a dataset that is only read."""
    dataset = catalog.get(name)
    if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
        try:
            return str(dataset.resolve_load_version())
        except VersionNotFoundError:
            return "absent"
    if isinstance(dataset, RegisteredDataset):
        # By its bytes: an alias may point to another version by now.
        return hash_files(dataset.local_path)
    if (path := getattr(dataset, "_filepath", None)) is not None:
        return hash_files(Path(path))
    return identify(catalog.load(name))


def identify(loaded: Any) -> str:
    """Hash what a catalog entry has loaded: a model's handle, scorers, a folder or prompts."""
    if hasattr(loaded, "content_hash"):
        return str(loaded.content_hash)
    if isinstance(loaded, BaseModel):
        loaded = scorer_identity(loaded)  # type: ignore[arg-type]
    elif isinstance(loaded, Path):
        return hash_files(loaded)
    elif isinstance(loaded, dict):
        loaded = {key: identify(value) for key, value in loaded.items()}
    return hashlib.sha256(json.dumps(loaded, sort_keys=True).encode()).hexdigest()
