"""The worker processes of a command: started, spoken to, watched, replaced, and ended with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple

from dpok_pipeline.configuration import selection
from dpok_pipeline.errors import InputError
from dpok_pipeline.workers.messages import Alive, Job, Stop
from dpok_pipeline.workers.worker import work

logger = logging.getLogger(__name__)

# Seconds that a killed process has to end.
_LAST_SECONDS = 5.0
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

    def __init__(self, number: int, threads: int, gpus: Sequence[str]) -> None:
        """Start the process.

        Args:
            number: Its place among the workers, by which it has its GPU.
            threads: Threads that it computes with.
            gpus: Names of the GPUs that the command may use.
        """
        self.number = number
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        settings = {
            "OMP_NUM_THREADS": str(threads),
            # Members of a team meet on this machine, and listen to nobody else.
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        }
        if gpus:
            settings["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        self._process: SpawnProcess = context.Process(
            target=work,
            args=(theirs, _levels(), selection.current()),
            name=f"worker {number}",
            daemon=True,
        )
        with _environment(settings):
            self._process.start()
        theirs.close()
        self._heard = time.monotonic() + _FIRST_WORD
        self.said_something = False

    def send(self, message: Job | Stop) -> None:
        """Send a message; one that has died since shows it when it is next listened to."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any | None:
        """Return what the worker says; None for a sign of life alone."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_LAST_SECONDS)
            return Gone(f"worker {self.number} has died ({_describe(self._process.exitcode)})")
        self._heard, self.said_something = time.monotonic(), True
        return None if isinstance(message, Alive) else message

    def silent_for(self) -> float:
        """Return the seconds since the worker was last heard of, if nothing of it is unread."""
        return 0.0 if self.connection.poll() else time.monotonic() - self._heard

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join(_LAST_SECONDS)
        self.connection.close()


class WorkerPool:
    """A fixed number of workers.

    Attributes:
        workers: All of them, each in its place.
        timeout: Seconds without a word after which a worker is killed.
    """

    def __init__(self, count: int, threads: int, timeout: float) -> None:
        """Start the workers.

        Args:
            count: Number of workers.
            threads: Threads that each computes with.
            timeout: Seconds without a word after which a worker is killed.
        """
        self.timeout = timeout
        self._threads, self._gpus, self._stillborn = threads, visible_gpus(), 0
        self.workers = [Worker(number, threads, self._gpus) for number in range(count)]

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
                yield worker, Gone(f"worker {worker.number} {silence}")

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
        self.workers[worker.number] = Worker(worker.number, self._threads, self._gpus)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.kill()


def _levels() -> dict[str, int]:
    """Return the level of every logger that has one of its own."""
    known = logging.Logger.manager.loggerDict
    levels = {
        name: one.level
        for name, one in known.items()
        if isinstance(one, logging.Logger) and one.level
    }
    return {**levels, "": logging.getLogger().level}


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set variables for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as CUDA_VISIBLE_DEVICES does."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    count = torch.cuda.device_count()
    return named[:count] if any(named) else [str(number) for number in range(count)]


def _describe(status: int | None) -> str:
    if status is not None and status < 0:
        return f"signal {-status}" + (", out of memory?" if status == -9 else "")
    return f"status {status}"
