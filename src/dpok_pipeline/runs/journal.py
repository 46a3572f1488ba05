"""The journal of a run, which lists the nodes that are done, so that the run can be continued.

It is written as nodes finish, whole or not at all, and removed when the run has succeeded. One that
exists at the next start belongs to a run that crashed or was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kedro.io import AbstractVersionedDataset, CatalogProtocol, Version
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import changes
from dpok_pipeline.files.json_files import read_json, write_json
from dpok_pipeline.runs.identity import Identity

SHOWN_DIFFERENCES = 3


@dataclass
class Journal:
    """The state of a run that has not succeeded yet.

    Attributes:
        version: Version that the run saves its outputs under.
        identity: Everything that its outputs depend on, but for the code.
        code: Hash of the sources that the run began with.
        done: Names of the nodes whose outputs are all saved.
        tracking_run: Id of the run in MLflow; None if nothing is tracked.
    """

    version: str
    identity: Identity
    code: str
    done: list[str] = field(default_factory=list)
    tracking_run: str | None = None

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Read a journal; return None if there is none.

        Raises:
            InputError: The file does not hold a journal.
        """
        content = read_json(path)
        try:
            return None if content is None else cls(**content)
        except TypeError:
            raise InputError(f"{path}: not a journal of this project; remove it") from None

    def write(self, path: Path) -> None:
        """Write the journal, in the place of an older state if there is one."""
        write_json(path, asdict(self))

    def check_same(self, identity: Identity, nodes: int) -> None:
        """Refuse to continue the run with other parameters or inputs.

        Args:
            identity: Identity of the run that starts.
            nodes: Number of its nodes.

        Raises:
            InputError: The identities differ. The message names the differences and two remedies.
        """
        differences = list(changes(self.identity, identity))
        if differences:
            hidden = len(differences) - SHOWN_DIFFERENCES
            more = f" and {hidden} more" if hidden > 0 else ""
            shown = "; ".join(differences[:SHOWN_DIFFERENCES])
            raise InputError(
                f"{len(self.done)} of {nodes} nodes of the interrupted run {self.version} are "
                f"done, but {shown}{more}: put back what was to continue it, or give "
                "`--params resume=never` to start anew"
            )


def journal_path(folder: Path, env: str | None, pipelines: Iterable[str], narrowed: str) -> Path:
    """Return the path of a command's journal.

    Args:
        folder: Folder of all journals.
        env: Name of the environment; None is Kedro's default, `local`.
        pipelines: Names of the pipelines; empty for the whole run.
        narrowed: Key that tells apart commands that run only some of the nodes; empty for all.
    """
    name = "+".join(sorted(pipelines)) or "__default__"
    return folder / (env or "local") / f"{name}{narrowed and '-'}{narrowed}.json"


def outputs_exist(node: Node, catalog: CatalogProtocol) -> bool:
    """Say whether all outputs of a node exist."""
    return all(catalog.exists(name) for name in node.outputs)


def use_version(pipeline: Pipeline, catalog: CatalogProtocol, version: str) -> None:
    """Let a catalog save all outputs of a pipeline under one version, and load them by it."""
    for dataset in _versioned(pipeline.all_outputs(), catalog):
        dataset._version = Version(version, version)
        dataset.release()


def remove_outputs(nodes: Sequence[Node], catalog: CatalogProtocol, version: str) -> None:
    """Remove all that nodes have saved under a version, whole or in part."""
    names = {name for node in nodes for name in node.outputs}
    for dataset in _versioned(names, catalog):
        shutil.rmtree(Path(dataset._get_versioned_path(version)).parent, ignore_errors=True)


def _versioned(names: Iterable[str], catalog: CatalogProtocol) -> list[AbstractVersionedDataset]:
    datasets = (catalog.get(name) for name in sorted(names))
    return [
        dataset
        for dataset in datasets
        if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None
    ]
