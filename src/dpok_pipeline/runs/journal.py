"""The journal of a run, which lists the nodes that are done, so that the run can be continued.

It is written as nodes finish, whole or not at all, and removed when the run has succeeded. One that
exists at the next start belongs to a run that crashed or was stopped.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from kedro.io import AbstractVersionedDataset, CatalogProtocol, Version
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel, ConfigDict, Field

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.fingerprint import summarise_changes
from dpok_pipeline.files.manifest import MANIFEST, check_folder
from dpok_pipeline.runs.json_files import read_model, write_json

logger = logging.getLogger(__name__)

#: Kedro's form of a version. Versions become names of folders: nothing else may stand there.
VERSION = r"^\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z$"


class Journal(BaseModel):
    """The state of a run that has not succeeded yet.

    Attributes:
        version: Version that the run saves its outputs under.
        identity: Everything that its outputs depend on, but for the code.
        code: Hash of the sources that the run began with.
        done: Names of the nodes whose outputs are all saved.
        key: Name by which the run is found in MLflow, made up before MLflow is asked for a run.
        files: The sha256 of each output that is a single file, by the dataset's name.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(pattern=VERSION)
    identity: dict[str, str | bool | int | float | None]
    code: str
    done: list[str] = []
    key: str = Field(default_factory=lambda: uuid4().hex, pattern="^[0-9a-f]{32}$")
    files: dict[str, str] = {}

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Read a journal; return None if there is none.

        Raises:
            InputError: The file does not hold a journal.
        """
        remedy = "remove it, and the run that it is about starts anew"
        return read_model(path, cls, "a journal of this project", remedy)

    def write(self, path: Path) -> None:
        """Write the journal, in the place of an older state if there is one."""
        write_json(path, self.model_dump())

    def check_same(self, identity: Mapping[str, object], nodes: int) -> None:
        """Refuse to continue the run with other parameters or inputs.

        Args:
            identity: Identity of the run that starts.
            nodes: Number of its nodes.

        Raises:
            InputError: The identities differ. The message names the differences and two remedies.
        """
        if differences := summarise_changes(self.identity, identity):
            raise InputError(
                f"{len(self.done)} of {nodes} nodes of the interrupted run {self.version} are "
                f"done, but {differences}: put back what was to continue it, or give "
                "`--params resume=never` to start anew"
            )


def journal_path(
    folder: Path, env: str | None, pipelines: Iterable[str], narrowed: str, training_seed: int
) -> Path:
    """Return the path of a command's journal.

    Args:
        folder: Folder of all journals.
        env: Name of the environment; None is Kedro's default, `local`.
        pipelines: Names of the pipelines; empty for the whole run.
        narrowed: Key that tells apart commands that run only some of the nodes; empty for all.
        training_seed: Seed of the training, by which work folders are kept apart as well.
    """
    name = "+".join(sorted(pipelines)) or "__default__"
    seed = f"seed_{training_seed}" if training_seed else ""
    return folder / (env or "local") / f"{'-'.join(filter(None, (name, narrowed, seed)))}.json"


def hash_output(name: str, catalog: CatalogProtocol) -> str | None:
    """Hash a saved output that is a single file; None for a folder, whose manifest has hashes."""
    path = _saved_path(name, catalog)
    return file_sha256(path) if path is not None and path.is_file() else None


def outputs_whole(node: Node, catalog: CatalogProtocol, files: Mapping[str, str]) -> bool:
    """Say whether all outputs of a node exist, each with the bytes that were saved.

    Args:
        node: Node that is done.
        catalog: Catalog that loads the version in which the node has saved them.
        files: The sha256 of outputs that are single files, by their names.
    """
    for name in node.outputs:
        if not catalog.exists(name):
            return False
        path = _saved_path(name, catalog)
        if path is not None and (path / MANIFEST).is_file():
            try:
                check_folder(path)
            except InputError as error:
                logger.warning("%s", error)
                return False
        elif name in files and hash_output(name, catalog) != files[name]:
            logger.warning("%s: its contents differ from what was saved; making it again", path)
            return False
    return True


def use_version(pipeline: Pipeline, catalog: CatalogProtocol, version: str) -> None:
    """Let a catalog save all outputs of a pipeline under one version, and load them by it."""
    for dataset in versioned_datasets(pipeline.all_outputs(), catalog):
        dataset._version = Version(version, version)
        dataset.release()


def remove_outputs(nodes: Sequence[Node], catalog: CatalogProtocol, version: str) -> None:
    """Remove all that nodes have saved under a version, whole or in part.

    Raises:
        ValueError: The version is none, and would lead out of the folders of the datasets.
    """
    if not re.fullmatch(VERSION, version):
        raise ValueError(f"{version!r} is no version")
    names = {name for node in nodes for name in node.outputs}
    for dataset in versioned_datasets(names, catalog):
        shutil.rmtree(Path(dataset._filepath) / version, ignore_errors=True)


def _saved_path(name: str, catalog: CatalogProtocol) -> Path | None:
    """Return the file or folder that an output is saved in; None for one without versions."""
    for dataset in versioned_datasets([name], catalog):
        return Path(dataset._get_versioned_path(dataset.resolve_save_version()))
    return None


def versioned_datasets(
    names: Iterable[str], catalog: CatalogProtocol
) -> list[AbstractVersionedDataset]:
    """Return those of the datasets that have versions, sorted by their names."""
    datasets = (catalog.get(name) for name in sorted(names))
    return [
        dataset
        for dataset in datasets
        if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None
    ]
