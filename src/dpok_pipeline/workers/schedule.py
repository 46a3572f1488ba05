"""Keeps workers busy: begins nodes, listens, takes results, begins again what died, stops all."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.graph import SHAREABLE
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.task import Task, TrackerAddress
from dpok_pipeline.training.signals import Stopped, stop_requests
from dpok_pipeline.training.tracking import Progress, Reached, write_line
from dpok_pipeline.workers.messages import Done, Ending, Failed, Halted, Job, Line, Logged, Stop
from dpok_pipeline.workers.plan import Most, Spread, any_number, choose, divisors_of, only_one
from dpok_pipeline.workers.pool import Gone, Worker, WorkerPool

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0  # seconds
# Seconds that the other members of a team have to end by themselves, once one has failed.
_GRACE = 10.0
_METHODS = "params:methods."


class Nodes(Protocol):
    """What happens to nodes in this process, see `runner.NodeRunner`."""

    def begin(self, node: Node) -> dict[str, Any]:
        """Load a node's inputs."""

    def finish(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Save a node's outputs."""

    def fail(self, node: Node, inputs: dict[str, Any], error: BaseException) -> None:
        """Tell the hooks that a node has failed."""


@dataclass
class Running:
    """A node that workers are running.

    Attributes:
        node: The node.
        inputs: Its inputs.
        members: The workers that share it, in the order of their ranks.
        ended: How each has ended, by its number.
        attempts: How often it has been begun.
        give_up_at: When the other members are ended, by `time.monotonic`, because one has failed.
        progress: Shows how far the node is; None while it does not say so.
    """

    node: Node
    inputs: dict[str, Any]
    members: list[Worker] = field(default_factory=list)
    ended: dict[int, Ending | Gone] = field(default_factory=dict)
    attempts: int = 0
    give_up_at: float = float("inf")
    progress: Progress | None = None

    @property
    def title(self) -> str:
        """Whose work it is, for the lines that it prints."""
        words: str = self.node.namespace or self.node.func.__name__
        return words.replace(".", " ").replace("_", " ")

    def show(self, reached: Reached) -> None:
        """Show how far the node is, or that it has come to an end."""
        if self.progress is None and not reached.ended:
            known = reached.title.lower() in self.title.split()  # as in `color dpok`
            title = self.title if known else f"{self.title}: {reached.title}"
            self.progress = Progress(title, reached.total, reached.unit, reached.done)
        if self.progress is not None:
            self.progress.follow(reached._replace(ended=False))
            if reached.ended:
                self.hide()

    def hide(self) -> None:
        """Show no more."""
        if self.progress is not None:
            self.progress.close()
            self.progress = None

    def endings(self) -> list[Ending | Gone]:
        """Return how the members have ended, in the order of their ranks."""
        return [self.ended[worker.number] for worker in self.members if worker.number in self.ended]


class Schedule:
    """Runs the nodes of a pipeline on the workers of a pool."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        pool: WorkerPool,
        nodes: Nodes,
        spread: Spread,
        restarts: int,
    ) -> None:
        """Begin nothing yet.

        Args:
            pipeline: The nodes.
            catalog: Where the slices of a method's training are read.
            pool: The workers.
            nodes: Loads and saves.
            spread: Nodes side by side, or workers inside of one node.
            restarts: How often a node whose worker has died is begun again.
        """
        self._needs = pipeline.node_dependencies
        self._waiting = list(pipeline.nodes)
        self._catalog, self._pool, self._nodes = catalog, pool, nodes
        self._spread, self._restarts = spread, restarts
        self._done: set[Node] = set()
        self._running: list[Running] = []
        self._trackers: dict[TrackerAddress, MlflowTracker] = {}
        # Why nothing is begun any more: an error of a node, or the user's wish.
        self._ending: BaseException | None = None

    def run(self) -> None:
        """Run all nodes.

        Raises:
            BaseException: What the first node that failed has raised, or `Stopped` after a signal;
                the other nodes have saved their state by then.
        """
        # A signal is looked at between two messages, so that none is lost or torn.
        with stop_requests("iteration of each node") as stop:
            try:
                while self._running or (self._waiting and self._ending is None):
                    if stop.signal_number is not None:
                        self._stop_all(Stopped(stop.signal_number))
                    if self._ending is None:
                        self._begin_ready()
                    for worker, message in self._pool.listen(_LOOK_EVERY):
                        self._take(worker, message)
                    self._end_what_is_left()
            finally:
                for running in self._running:
                    running.hide()
        if self._ending is not None:
            raise self._ending

    def _begin_ready(self) -> None:
        ready = [node for node in self._waiting if self._needs[node] <= self._done]
        busy = {worker.number for one in self._running for worker in one.members}
        free = [worker for worker in self._pool.workers if worker.number not in busy]
        sizes = choose(
            [self._most(node) for node in ready],
            len(self._running),
            len(free),
            len(self._pool.workers),
            self._spread,
        )
        for node, size in zip(ready, sizes, strict=False):
            self._waiting.remove(node)
            members, free = free[:size], free[size:]
            try:
                running = Running(node, self._nodes.begin(node))
                self._send(running, members)
            except Exception as error:
                self._stop_all(error)
                return
            self._running.append(running)

    def _most(self, node: Node) -> Most:
        """Return how many workers can share a node."""
        if SHAREABLE not in node.tags:
            return only_one
        names = [name for name in node.inputs if name.startswith(_METHODS)]
        # One that trains has the method's settings, whose slices are shared evenly.
        return divisors_of(self._catalog.load(names[0]).training.slices) if names else any_number

    def _send(self, running: Running, members: Sequence[Worker]) -> None:
        """Send a node to its members."""
        running.members, running.ended, running.give_up_at = [*members], {}, float("inf")
        running.attempts += 1
        meeting = self._pool.launcher.meeting() if len(members) > 1 else ""
        for rank, worker in enumerate(members):
            worker.send(Job(running.node, running.inputs, rank, len(members), meeting))

    def _take(self, worker: Worker, message: Any) -> None:
        """Take what a worker says."""
        running = next((one for one in self._running if worker in one.members), None)
        if isinstance(message, Gone):
            self._pool.replace(worker)
        if running is None:
            return
        if isinstance(message, Line):
            write_line(f"{running.title}: {message.text}")
        elif isinstance(message, Reached):
            running.show(message)
        elif isinstance(message, Logged):
            tracker = self._trackers.setdefault(message.address, MlflowTracker(message.address))
            getattr(tracker, message.method)(*message.arguments)
        elif isinstance(message, Done | Failed | Halted | Gone):
            running.ended[worker.number] = message
            if isinstance(message, Failed | Gone):
                # The others may wait for it. What they have to save is saved; a team whose member
                # has died cannot go on.
                grace = 0.0 if isinstance(message, Gone) else _GRACE
                running.give_up_at = min(running.give_up_at, time.monotonic() + grace)
            self._conclude_if_ended(running)
        else:
            logging.getLogger(message.logger).log(
                message.level, "%s: %s", running.title, message.text
            )

    def _end_what_is_left(self) -> None:
        """End the members that wait for one that has failed or died."""
        for running in [one for one in self._running if one.give_up_at < time.monotonic()]:
            for worker in running.members:
                if worker.number not in running.ended:
                    self._pool.replace(worker)
                    running.ended[worker.number] = Done({})
            self._conclude_if_ended(running)

    def _conclude_if_ended(self, running: Running) -> None:
        """Once all members have ended: save what was made, begin again, or end the run."""
        if len(running.ended) < len(running.members):
            return
        self._running.remove(running)
        running.hide()
        endings = running.endings()
        deaths = [ending for ending in endings if isinstance(ending, Gone)]
        failures = [ending for ending in endings if isinstance(ending, Failed)]
        if deaths:
            # What the other members say of their team then is a consequence.
            self._begin_again(running, deaths[0].why)
        elif failures:
            self._fail(running, _cause(failures))
        elif any(isinstance(ending, Halted) for ending in endings):
            self._stop_all(Stopped(signal.SIGTERM))
        else:
            assert isinstance(endings[0], Done)
            try:
                self._nodes.finish(running.node, running.inputs, endings[0].outputs)
            except Exception as error:
                self._stop_all(error)
            self._done.add(running.node)

    def _begin_again(self, running: Running, why: str) -> None:
        if self._ending is not None:
            return
        if running.attempts > self._restarts:
            error = InputError(
                f"{running.title}: {why}, and so it was each of the {running.attempts} times that "
                "it was begun; look at the machine's memory, then give the same command again, "
                "which goes on from what is saved"
            )
            self._fail(running, error)
            return
        logger.warning("%s: %s; it goes on from what is saved", running.title, why)
        running.inputs = {name: _continued(value) for name, value in running.inputs.items()}
        self._trackers.clear()  # they would not know what has been logged already
        numbers = [worker.number for worker in running.members]
        self._running.append(running)
        self._send(running, [self._pool.workers[number] for number in numbers])

    def _fail(self, running: Running, error: BaseException) -> None:
        self._nodes.fail(running.node, running.inputs, error)
        self._stop_all(error)

    def _stop_all(self, reason: BaseException) -> None:
        """Let the running nodes save their state; begin none any more.

        They are asked once: a second time would end them before they have saved.
        """
        if self._ending is not None:
            return
        self._ending = reason
        for running in self._running:
            # The first member ends the others of its team.
            running.members[0].send(Stop())


def _continued(value: Any) -> Any:
    """Return an input for another attempt: a task goes on, whatever the command has asked for."""
    if not isinstance(value, Task):
        return value
    tracker = value.tracker
    if tracker is not None:
        tracker = tracker.model_copy(update={"continued": True})
    return value.model_copy(update={"resume": "auto", "tracker": tracker})


def _cause(failures: Sequence[Failed]) -> BaseException:
    """Choose what a team's failure is about: the others only say that a member has gone."""

    def rank(failure: Failed) -> int:
        if isinstance(failure.error, InputError):
            return 0
        return 2 if "gloo" in failure.traceback or "distributed" in failure.traceback else 1

    first = min(failures, key=rank)
    if first.traceback and not isinstance(first.error, InputError):
        first.error.add_note(first.traceback)
    return first.error
