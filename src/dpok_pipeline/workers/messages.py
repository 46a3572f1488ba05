"""What the command and its workers say to one another, over a connection with each worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from kedro.pipeline import Node

from dpok_pipeline.pipelines.task import TrackerAddress


@dataclass(frozen=True)
class Job:
    """A node for a worker to run, alone or as a member of a team.

    Attributes:
        node: The node.
        inputs: Its inputs by their names, as the hooks have left them.
        rank: Number of this worker in the team, 0 first.
        size: Number of workers that share the node.
        meeting: Address that the team's members find one another by.
    """

    node: Node
    inputs: dict[str, Any]
    rank: int = 0
    size: int = 1
    meeting: str = ""


class Stop(NamedTuple):
    """The command asks a worker to save its state and end the job."""


class Alive(NamedTuple):
    """A worker says, every second, that it is there."""


class Line(NamedTuple):
    """A line that the job has printed.

    Attributes:
        text: The line.
    """

    text: str


class Record(NamedTuple):
    """What the job has logged.

    Attributes:
        logger: Name of the logger.
        level: Its level.
        text: The message.
    """

    logger: str
    level: int
    text: str


class Logged(NamedTuple):
    """Metrics or a picture for MLflow.

    Attributes:
        address: The node's run.
        method: Name of the tracker's method.
        arguments: Its arguments; a picture is an array.
    """

    address: TrackerAddress
    method: str
    arguments: tuple[Any, ...]


class Done(NamedTuple):
    """The job has ended well.

    Attributes:
        outputs: The node's outputs by their names; empty from all members but the first.
    """

    outputs: dict[str, Any]


class Failed(NamedTuple):
    """The job has raised an error.

    Attributes:
        error: The error.
        traceback: Where it came from.
    """

    error: BaseException
    traceback: str


class Halted(NamedTuple):
    """The job has ended because it was asked to; its state is saved.

    Attributes:
        signal_number: The signal that it was asked by.
    """

    signal_number: int


#: What ends a job.
Ending = Done | Failed | Halted
