"""The journal of a run: which of its nodes are done, so that a crashed run can be continued.

It is written as nodes finish, whole or not at all, and removed when the run has succeeded. What is
there at the next start belongs to a run that crashed or was stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kedro.io import AbstractVersionedDataset, CatalogProtocol, Version
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.json_files import read_json, write_json
from dpok_pipeline.runs.identity import Identity, differences

SHOWN_DIFFERENCES = 3


@dataclass
class Journal:
    """What is known of a run that has not succeeded yet.

    Attributes:
        version: What its outputs are saved under.
        identity: What it is made from.
        code: Hash of the sources that it began with.
        done: Names of the nodes whose outputs are all saved.
        tracking_run: Its run in MLflow; None where nothing is tracked.
    """

    version: str
    identity: Identity
    code: str
    done: list[str] = field(default_factory=list)
    tracking_run: str | None = None

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Read a journal; None if there is none.

        Raises:
            InputError: Something else has changed the file.
        """
        content = read_json(path)
        try:
            return None if content is None else cls(**content)
        except TypeError:
            raise InputError(f"{path}: not a journal of this project; remove it") from None

    def write(self, path: Path) -> None:
        """Put the journal into the place of the one that is there."""
        write_json(path, asdict(self))

    def check_same(self, identity: Identity, nodes: int) -> None:
        """Refuse to continue with other parameters or inputs.

        Args:
            identity: Of the run that starts.
            nodes: How many nodes it has.

        Raises:
            InputError: They differ; it names what does, and the two ways out.
        """
        found = list(differences(self.identity, identity))
        if found:
            more = len(found) - SHOWN_DIFFERENCES
            shown = "; ".join(found[:SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")
            raise InputError(
                f"{len(self.done)} of {nodes} nodes of the interrupted run {self.version} are "
                f"done, but {shown}: put back what was to continue it, or give "
                "`--params resume=never` to start anew"
            )


def journal_path(folder: Path, env: str | None, pipelines: Iterable[str], narrowed: str) -> Path:
    """Name the journal of a command.

    Args:
        folder: Where runs keep their journals.
        env: The environment; None is Kedro's default, `local`.
        pipelines: The pipelines by name; none are all.
        narrowed: Tells apart commands that run some nodes of them; empty for all nodes.
    """
    name = "+".join(sorted(pipelines)) or "__default__"
    return folder / (env or "local") / f"{name}{narrowed and '-'}{narrowed}.json"


def saved(node: Node, catalog: CatalogProtocol) -> bool:
    """Say whether all outputs of a node are there."""
    return all(catalog.exists(name) for name in node.outputs)


def use_version(pipeline: Pipeline, catalog: CatalogProtocol, version: str) -> None:
    """Save all outputs under one version, and read those of them that are there by it."""
    for dataset in _versioned(pipeline.all_outputs(), catalog):
        dataset._version = Version(version, version)
        dataset.release()


def remove_outputs(nodes: Sequence[Node], catalog: CatalogProtocol, version: str) -> None:
    """Remove what nodes that did not finish have saved under a version, whole or in part."""
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
