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
from benchmarks.stress.processes import Worker, results, run_to_the_end, whole_state

MEGABYTES = 64
MESSAGE = "The disk is full"
_BLOCK = bytes(1 << 16)


class Unavailable(Exception):
    """A tmpfs cannot be mounted here."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a tmpfs, and take it away again.

    Raises:
        Unavailable: It needs a right that this user lacks.
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
        kind: What runs.
        folder: The folder of this part and kind alone.
        times: How often the disk is filled.
        seed: Seed of the moments.

    Returns:
        The figures for the results.
    """
    _unmount(folder / "disk")  # a command that was killed has left it
    whole = reference(kind, folder)
    expected = results(folder / "whole")
    moments = random.Random(f"{seed}/{kind}/disk")
    longest = 2 * whole["seconds"] / max(times, 1)
    counts: dict[str, int] = dict.fromkeys(("full", "clear", "state_whole", "finished", "same"), 0)
    with small_disk(folder / "disk") as disk:
        if kind == "sft":
            shutil.copytree(folder / "samples", disk / "samples")
        while counts["full"] < times:
            if _start_and_fill(kind, disk / "work", moments.uniform(0, longest), counts):
                print(f"  {kind}: disk full {counts['full']} of {times}", flush=True)
            else:
                _compare(kind, disk / "work", expected, counts)
        run_to_the_end(kind, disk / "work")
        _compare(kind, disk / "work", expected, counts)
    passed = counts["full"] == counts["clear"] == counts["state_whole"]
    return {
        "times_full": counts["full"],
        "clear_errors": counts["clear"],
        "earlier_state_whole": counts["state_whole"],
        "finished_runs": counts["finished"],
        "bit_identical_runs": counts["same"],
        "passed": passed and counts["finished"] == counts["same"] and bool(expected),
    }


def _start_and_fill(kind: Kind, work: Path, delay: float, counts: dict[str, int]) -> bool:
    """Start, and fill the disk at a moment; return False where the run finished all the same."""
    ballast = work.parent / "ballast"
    with Worker(kind, work) as worker:
        worker.wait_until_ready()
        if not worker.sleep(delay):
            return False
        before = whole_state(work)
        _fill(ballast)
        status, errors, _ = worker.finish()
    after = whole_state(work)
    ballast.unlink()
    if status == 0:  # it was writing its last file already
        return False
    counts["full"] += 1
    counts["clear"] += status == 1 and MESSAGE in errors and "Traceback" not in errors
    counts["state_whole"] += _is_still_whole(kind, before, after)
    return True


def _is_still_whole(kind: Kind, before: list[str], after: list[str]) -> bool:
    """Say whether a failed write has spoilt nothing that was whole before."""
    if kind == "generation":
        return set(before) <= set(after)
    # Checkpoints give way to newer ones.
    return max(after, default="") >= max(before, default="")


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(_BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def _compare(kind: Kind, work: Path, expected: dict[str, str], counts: dict[str, int]) -> None:
    same = results(work) == expected
    counts["finished"] += 1
    counts["same"] += same
    print(f"  {kind}: run {counts['finished']} finished, same bytes: {same}", flush=True)
    shutil.rmtree(work)
