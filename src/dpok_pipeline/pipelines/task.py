"""The task of a node: whose work it does, in which folder, and where it logs metrics.

A task is a parameter of the node. The configuration loader gives experiment and method; a hook
fills in the rest just before the node runs. A task can be pickled, so that the node may run in
another process.
"""

from __future__ import annotations

from pathlib import Path

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.report.provenance import Lineage
from dpok_pipeline.training.config import Resume


class TrackerAddress(FrozenConfig):
    """The address of an open MLflow run.

    Attributes:
        uri: Address of the tracking server or database.
        run_id: MLflow's id of the run.
        name: Name of the run, for messages.
        continued: Whether an interrupted command has logged to the run before.
    """

    uri: str
    run_id: str
    name: str = ""
    continued: bool = False


class Task(FrozenConfig):
    """What one node is told besides its data.

    Attributes:
        experiment: Experiment whose prompts the node works on; `all` for a node over all of them.
        method: Method whose LoRA the node is about; empty for no method or for several.
        node: Name of the node without its namespace.
        work: Folder in which this node alone keeps the state of an unfinished run; None until the
            hook has filled in the task.
        resume: `auto` goes on from the state in `work`; `never` starts anew.
        tracker: Run that metrics are logged to; None drops them.
        lineage: Where what the node reads comes from, for a node that shows it; None for others.
    """

    experiment: str
    method: str = ""
    node: str = ""
    work: Path | None = None
    resume: Resume = "auto"
    tracker: TrackerAddress | None = None
    lineage: Lineage | None = None

    @property
    def folder(self) -> Path:
        """The folder of the node's unfinished work.

        Raises:
            ValueError: No hook has filled in the task.
        """
        if self.work is None:
            raise ValueError(f"{self.experiment} {self.method}: the task names no work folder")
        return self.work
