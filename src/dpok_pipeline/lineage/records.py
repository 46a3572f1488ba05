"""The record of a version: what it was made from, by which node, and in which command.

It lies in the version's own folder, beside the data, so that it is moved, copied and removed with
it. Nothing else is needed to follow a dataset back to the files that it all began from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.durable import save_whole
from dpok_pipeline.files.manifest import MANIFEST, folder_digest
from dpok_pipeline.pipelines.models import hash_files
from dpok_pipeline.runs.json_files import read_model

#: Name of a record, in the folder of its version.
RECORD = "_lineage.json"


class Source(FrozenConfig):
    """Something that a node has read."""

    name: str = Field(description="Name of the dataset in the catalog.")
    version: str | None = Field(None, description="Kedro's version; null where there are none.")
    digest: str | None = Field(None, description="Sha256 of its content as it was read.")
    files: dict[str, str] = Field(
        {},
        description="Where there are no versions: files, and folders with a slash at the end, "
        "each with its sha256.",
    )


class Command(FrozenConfig):
    """How the command was started that made a version."""

    text: str = Field(description="The command line.")
    started: str = Field(description="Kedro's id of the run, which is when it began, in UTC.")
    env: str | None = Field(None, description="Environment; null is Kedro's default.")
    parameters: dict[str, Any] = Field({}, description="Values of --params by dotted names.")
    commit: str | None = Field(None, description="Commit of the code; null outside of git.")
    dirty: bool = Field(
        False, description="Whether code or settings of the run are not in the commit."
    )

    @property
    def beside_commit(self) -> str:
        """What the run was made from that its commit does not hold; empty if there is nothing."""
        return "changes or settings that are not in git" if self.dirty else ""


class TrackedRun(FrozenConfig):
    """A run in MLflow."""

    experiment_id: str | None = Field(
        None, description="Id of the MLflow experiment; null if MLflow was away."
    )
    run_id: str = Field(description="Id of the run.")
    name: str = Field(description="Name of the run when it was opened.")


class Record(FrozenConfig):
    """What one version of a dataset was made from."""

    name: str = Field(description="Name of the dataset in the catalog.")
    version: str = Field(description="Kedro's version.")
    path: str = Field(description="File or folder, relative to the project where it is inside.")
    digest: str = Field(description="Sha256 of what was saved.")
    node: str = Field("", description="Node that made it; empty for a command by itself.")
    inputs: tuple[Source, ...] = Field((), description="What the node had read.")
    parameters: dict[str, Any] = Field({}, description="The node's parameters by dotted names.")
    command: Command = Field(description="The command that the node was part of.")
    run: TrackedRun | None = Field(None, description="The command's run; null if not tracked.")
    child: TrackedRun | None = Field(None, description="The node's own run, if it has one.")

    @property
    def seeds(self) -> dict[str, int]:
        """The seeds among the node's parameters."""
        return {key: value for key, value in self.parameters.items() if key.endswith("seed")}


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a version into its folder."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    save_whole(folder / RECORD, text.encode())


def read_record(folder: Path) -> Record | None:
    """Read the record in the folder of a version; None if there is none.

    Raises:
        InputError: The file does not hold a record.
    """
    return read_model(folder / RECORD, Record, "a record of lineage", "remove it")


def content_digest(path: Path) -> str:
    """Return the sha256 of a version's content.

    Of a sealed folder it is that of its manifest's list of files, which MLflow has as the tag
    `content` of a LoRA.

    Raises:
        InputError: A folder's manifest cannot be read.
    """
    if (path / MANIFEST).is_file():
        return folder_digest(path)
    return hash_files(path) if path.is_dir() else file_sha256(path)


def shown_path(path: Path, project: Path) -> str:
    """Return a path as records have it: relative to the project if it is inside."""
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else path.as_posix()
