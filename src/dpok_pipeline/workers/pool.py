"""The worker processes of a command: started, spoken to, watched, replaced, and ended with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from dpok_pipeline.errors import InputError
from dpok_pipeline.workers.messages import Alive, Job, Stop
from dpok_pipeline.workers.processes import Launcher, WorkerProcess

# Processes in a row that end before they have said a word.
_MOST_STILLBORN = 5
# Seconds until a process has imported what it needs to say that it is there.
_FIRST_WORD = 120.0


class Gone(NamedTuple):
    """A worker has died, or was killed because it had not been heard of for too long.

    Attributes:
        why: What happened to it.
    """

    why: str


class Worker:
    """One worker process, as the command sees it.

    Attributes:
        number: Its place among the workers.
        said_something: Whether it has been heard of at all.
    """

    def __init__(self, number: int, process: WorkerProcess) -> None:
        """Take a process that has been started.

        Args:
            number: Its place among the workers.
            process: Where it runs.
        """
        self.number, self._process = number, process
        self.connection = process.connection
        self._heard = time.monotonic() + _FIRST_WORD
        self.said_something = False

    @property
    def title(self) -> str:
        """Which worker it is, and where it runs, for messages."""
        return f"worker {self.number}{self._process.place}"

    def send(self, message: Job | Stop) -> None:
        """Send a message; one that has died since shows it when it is next listened to."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any | None:
        """Return what the worker says; None for a sign of life alone."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return Gone(f"{self.title} has died ({self._process.describe_end()})")
        self._heard, self.said_something = time.monotonic(), True
        return None if isinstance(message, Alive) else message

    def silent_for(self) -> float:
        """Return the seconds since the worker was last heard of, if nothing of it is unread."""
        return 0.0 if self.connection.poll() else time.monotonic() - self._heard

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()


class WorkerPool:
    """A fixed number of workers.

    Attributes:
        workers: All of them, each in its place.
        launcher: How they are started.
        timeout: Seconds without a word after which a worker is killed.
    """

    def __init__(self, count: int, launcher: Launcher, timeout: float) -> None:
        """Start the workers.

        Args:
            count: Number of workers.
            launcher: How they are started; it is closed with the pool.
            timeout: Seconds without a word after which a worker is killed.
        """
        self.timeout, self.launcher, self._stillborn = timeout, launcher, 0
        self.workers: list[Worker] = []
        try:
            for number in range(count):
                self.workers.append(Worker(number, launcher.start(number)))
        except BaseException:
            self.close()
            raise

    def listen(self, seconds: float) -> Iterator[tuple[Worker, Any]]:
        """Yield what workers say; wait for a word of any of them.

        Args:
            seconds: How long to wait at most.
        """
        by_connection: dict[Any, Worker] = {one.connection: one for one in self.workers}
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]
            message = worker.receive()
            if message is not None:
                yield worker, message
        for worker in self.workers:
            if worker.silent_for() > self.timeout:
                worker.kill()
                silence = f"was not heard of for {self.timeout:g} s, and killed"
                yield worker, Gone(f"{worker.title} {silence}")

    def replace(self, worker: Worker) -> None:
        """Start a new process in the place of one that is gone.

        Raises:
            InputError: Processes end before they have said a word, again and again.
        """
        worker.kill()
        self._stillborn = 0 if worker.said_something else self._stillborn + 1
        if self._stillborn > _MOST_STILLBORN:
            raise InputError(
                "workers: their processes end as soon as they are started; look at the machine's "
                "memory and its limits on processes, or leave --workers out"
            )
        self.workers[worker.number] = Worker(worker.number, self.launcher.start(worker.number))

    def close(self) -> None:
        """End all workers."""
        try:
            for worker in self.workers:
                worker.kill()
        finally:
            self.launcher.close()
