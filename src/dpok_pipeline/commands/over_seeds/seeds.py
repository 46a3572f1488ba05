"""Whole runs of several training seeds at the same time, each a command of its own.

One seed's experiments and methods already run side by side. Where there are more workers than these
can use, several seeds share them out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpok_pipeline.commands.over_seeds import guarded
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.signals import stop_requests
from dpok_pipeline.training.tracking import write_line
from dpok_pipeline.workers.processes import visible_gpus
from dpok_pipeline.workers.runner import cores

_LOOK_EVERY = 0.2  # seconds


@dataclass(frozen=True)
class Share:
    """What each of several seeds has.

    Attributes:
        seeds: Number of seeds at a time.
        workers: Number of workers of each.
    """

    seeds: int
    workers: int

    def options(self, address: str | None) -> list[str]:
        """Return the options of a seed's command.

        Args:
            address: Address of a Ray cluster, which shares out its cores itself.
        """
        workers = ["--workers", f"{self.workers}"]
        if address is not None:
            return [*workers, "--address", address]
        threads = max(cores() // (self.seeds * self.workers), 1)
        return [*workers, "--runner-params", f"threads={threads}"]


def share_out(seeds: int, workers: int, nodes: int) -> Share:
    """Say how many seeds run at a time, and what each has.

    One seed has the workers for itself while it can use them all.

    Args:
        seeds: Number of seeds that are to be run.
        workers: Number of workers.
        nodes: Number of nodes of one seed that run side by side: its trainings.
    """
    at_once = max(min(seeds, workers // nodes), 1)
    return Share(at_once, workers // at_once)


class SeedRun:
    """The whole run of one seed, in a process of its own.

    Attributes:
        seed: The training seed.
        place: Its place among those that run at the same time, 0 first.
    """

    def __init__(
        self, seed: int, place: int, arguments: Sequence[str], workers: int, project: Path
    ) -> None:
        """Start it.

        Args:
            seed: The training seed.
            place: Its place among those that run at the same time.
            arguments: What `kedro run` is given for it.
            workers: Number of its workers, each of which has a GPU if there are any.
            project: The project's folder.
        """
        self.seed, self.place = seed, place
        gpus = visible_gpus()[place * workers : (place + 1) * workers]
        self._process = subprocess.Popen(
            [sys.executable, "-m", guarded.__name__, "run", *arguments],
            cwd=project,
            stdin=subprocess.PIPE,  # which ends with this process, and the run with it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})},
        )
        self._lines = threading.Thread(target=self._pass_on, daemon=True)
        self._lines.start()

    @property
    def status(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save its state and end."""
        self._process.terminate()

    def join(self) -> None:
        """Wait for its end and its last line; if that is interrupted, end it at once."""
        try:
            self._process.wait()
        finally:
            self._process.kill()
            self._lines.join()

    def _pass_on(self) -> None:
        """Print its lines, each with whose it is; were they not read, a full pipe would stop it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            write_line(f"seed {self.seed}: {line.rstrip()}")


def run_side_by_side(
    arguments: Mapping[int, Sequence[str]], share: Share, address: str | None, project: Path
) -> None:
    """Run seeds, several at a time.

    Args:
        arguments: What `kedro run` is given for each seed, but for its workers.
        share: How many at a time, and what each has.
        address: Address of a Ray cluster; None for workers of this machine.
        project: The project's folder.

    Raises:
        InputError: A seed's run has failed; the others have saved their state.
        Stopped: SIGINT or SIGTERM came, and was passed on; all have saved their state.
    """
    waiting, running = list(arguments), list[SeedRun]()
    with stop_requests("iteration of each node") as stop:
        try:
            while (waiting or running) and not stop:
                free = sorted({*range(share.seeds)} - {run.place for run in running})
                for place, seed in zip(free, waiting[: len(free)], strict=False):
                    waiting.remove(seed)
                    given = [*arguments[seed], *share.options(address)]
                    running.append(SeedRun(seed, place, given, share.workers, project))
                time.sleep(_LOOK_EVERY)
                if failed := [run.seed for run in running if run.status]:
                    raise InputError(
                        f"training seed {failed[0]}: its run has failed, as its lines above say; "
                        "the same command goes on from what is saved"
                    )
                running = [run for run in running if run.status is None]
        finally:
            for run in running:
                run.stop()
            for run in running:
                run.join()
        stop.obey()
