"""What a node is told besides its data: whose work it does, where, and whom it reports to.

A task is a parameter of the node. The configuration says experiment and method; a hook fills in
the rest just before the node runs. It can be pickled, so that a node may run in another process.
"""

from __future__ import annotations

from pathlib import Path

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.training.config import Resume


class TrackerAddress(FrozenConfig):
    """An open MLflow run.

    Attributes:
        uri: Of the tracking server or database.
        run_id: Of the run.
        continued: Whether an interrupted command has logged to it before.
    """

    uri: str
    run_id: str
    continued: bool = False


class Task(FrozenConfig):
    """One node's errand.

    Attributes:
        experiment: Whose prompts; `all` for what is done over all experiments.
        method: Whose LoRA; empty where a node is about no method or about several.
        node: The node's name without its namespace.
        work: Folder for the state of an unfinished run, of this node alone; None keeps no state.
        resume: Whether to go on from what is in `work`.
        tracker: Where metrics go; None drops them.
    """

    experiment: str
    method: str = ""
    node: str = ""
    work: Path | None = None
    resume: Resume = "auto"
    tracker: TrackerAddress | None = None
