"""How a worker's process is started and ended: on this machine here, elsewhere in `ray_cluster`."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from dpok_pipeline.configuration import selection
from dpok_pipeline.workers.worker import work

#: Seconds that a killed process has to end.
LAST_SECONDS = 5.0


class WorkerProcess(Protocol):
    """A worker's process, wherever it runs.

    Attributes:
        connection: What it is spoken to over.
        place: Where it runs, as ` on 10.0.0.2`; empty on this machine.
    """

    connection: Connection
    place: str

    def kill(self) -> None:
        """End it at once; again, do nothing."""

    def describe_end(self) -> str:
        """Say how it has ended, which it is about to do."""


class Launcher(Protocol):
    """Starts the workers of one command."""

    def start(self, number: int) -> WorkerProcess:
        """Start a worker.

        Args:
            number: Its place among the workers; one that had it before has been killed.
        """

    def meeting(self) -> str:
        """Return a new address for the members of a team to meet at, see `TorchTeam.join`."""

    def close(self) -> None:
        """Give back what all workers share; they have been killed before."""


class LocalProcess:
    """A process of this machine."""

    place = ""

    def __init__(self, number: int, settings: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work,
            args=(theirs, levels(), selection.current()),
            name=f"worker {number}",
            daemon=True,
        )
        with environment(settings):
            self._process.start()
        theirs.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join(LAST_SECONDS)
        self.connection.close()

    def describe_end(self) -> str:
        """Say how it has ended."""
        self._process.join(LAST_SECONDS)
        return describe(self._process.exitcode)


class LocalLauncher:
    """Starts workers on this machine, each with a GPU of its own if there are any."""

    def __init__(self, threads: int) -> None:
        """Start nothing yet.

        Args:
            threads: Threads that each worker computes with.
        """
        self._threads, self._gpus = threads, visible_gpus()
        self._meetings = tempfile.TemporaryDirectory(prefix="dpok-")

    def start(self, number: int) -> LocalProcess:
        """Start a worker."""
        settings = {
            "OMP_NUM_THREADS": str(self._threads),
            # Members of a team meet on this machine, and listen to nobody else.
            "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        }
        if self._gpus:
            settings["CUDA_VISIBLE_DEVICES"] = self._gpus[number % len(self._gpus)]
        return LocalProcess(number, settings)

    def meeting(self) -> str:
        """Return a file's address."""
        return f"file://{Path(self._meetings.name, uuid4().hex)}"

    def close(self) -> None:
        """Remove the files that teams have met at."""
        self._meetings.cleanup()


def levels() -> dict[str, int]:
    """Return the level of every logger that has one of its own."""
    known = logging.Logger.manager.loggerDict
    own = {
        name: one.level
        for name, one in known.items()
        if isinstance(one, logging.Logger) and one.level
    }
    return {**own, "": logging.getLogger().level}


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
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


def describe(status: int | None) -> str:
    """Say what an exit status means."""
    if status is not None and status < 0:
        return f"signal {-status}" + (", out of memory?" if status == -9 else "")
    return f"status {status}"


def visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as CUDA_VISIBLE_DEVICES does."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    count = torch.cuda.device_count()
    return named[:count] if any(named) else [str(number) for number in range(count)]
