"""The disk full at random moments: a small tmpfs, filled up by a ballast file."""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import Kind
from benchmarks.stress.kills import reference
from benchmarks.stress.processes import Worker, results, run_to_the_end, whole_checkpoints

MEGABYTES = 64
MESSAGE = "The disk is full"
_BLOCK = bytes(1 << 16)


class Unavailable(Exception):
    """No tmpfs can be mounted here."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a tmpfs, and take it away again.

    Raises:
        Unavailable: it needs a right that this user lacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        raise Unavailable(f"no tmpfs: {' '.join(reason.split())}") from None
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def fill_disk(kind: Kind, folder: Path, times: int, seed: int) -> dict[str, Any]:
    """Fill the disk so many times under a running process, and compare the finished runs.

    Args:
        kind: what runs.
        folder: of this part and kind alone.
        times: how often.
        seed: of the moments.
    """
    _unmount(folder / "disk")  # a command that was killed has left it
    whole = reference(kind, folder)
    expected = results(folder / "whole")
    moments = random.Random(f"{seed}/{kind}/disk")
    longest = 2 * whole["seconds"] / max(times, 1)
    found: dict[str, int] = dict.fromkeys(("full", "clear", "state_whole", "finished", "same"), 0)
    with small_disk(folder / "disk") as disk:
        if kind == "sft":
            shutil.copytree(folder / "samples", disk / "samples")
        while found["full"] < times:
            if _start_and_fill(kind, disk / "work", moments.uniform(0, longest), found):
                print(f"  {kind}: disk full {found['full']} of {times}", flush=True)
            else:
                _compare(kind, disk / "work", expected, found)
        run_to_the_end(kind, disk / "work")
        _compare(kind, disk / "work", expected, found)
    passed = found["full"] == found["clear"] == found["state_whole"]
    return {
        "times_full": found["full"],
        "clear_errors": found["clear"],
        "earlier_state_whole": found["state_whole"],
        "finished_runs": found["finished"],
        "bit_identical_runs": found["same"],
        "passed": passed and found["finished"] == found["same"] and bool(expected),
    }


def _start_and_fill(kind: Kind, work: Path, delay: float, found: dict[str, int]) -> bool:
    """Start, fill the disk at a moment, see how it ends; False where the run finished."""
    ballast = work.parent / "ballast"
    with Worker(kind, work) as worker:
        worker.wait_until_ready()
        if not worker.sleep(delay):
            return False
        before = whole_checkpoints(work)
        _fill(ballast)
        status, errors, _ = worker.finish()
    after = whole_checkpoints(work)
    ballast.unlink()
    if status == 0:  # it was writing its last file already
        return False
    found["full"] += 1
    found["clear"] += status == 1 and MESSAGE in errors and "Traceback" not in errors
    # What was whole still is, unless a newer one has taken its place.
    found["state_whole"] += not before or max(after, default="") >= max(before)
    return True


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(_BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _compare(kind: Kind, work: Path, expected: dict[str, str], found: dict[str, int]) -> None:
    same = results(work) == expected
    found["finished"] += 1
    found["same"] += same
    print(f"  {kind}: run {found['finished']} finished, same bytes: {same}", flush=True)
    shutil.rmtree(work)
