"""Killed with -9 at random moments and started again until done: the same bytes?"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import Kind
from benchmarks.stress.processes import Worker, results, run_to_the_end, whole_state

_SHARE_IN_START = 0.1  # of the kills hit a process that is still loading


def reference(kind: Kind, folder: Path) -> dict[str, Any]:
    """Do the uninterrupted run, with SFT's images before it, and return its report."""
    shutil.rmtree(folder, ignore_errors=True)
    if kind == "sft":
        run_to_the_end("generation", folder / "samples", "--images", "48")
    return run_to_the_end(kind, folder / "whole")


def kill_and_restart(kind: Kind, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill so many times, over as many runs as that takes, and compare each finished run.

    Args:
        kind: What runs.
        folder: The folder of this part and kind alone.
        kills: How often it is killed.
        seed: Seed of the moments.

    Returns:
        The figures for the results.
    """
    whole = reference(kind, folder)
    expected = results(folder / "whole")
    moments = random.Random(f"{seed}/{kind}")
    # On average a killed process gets through its share of the work, so that one run takes about
    # `kills` kills.
    longest = 2 * whole["seconds"] / max(kills, 1)
    done, finished, same, with_state = 0, 0, 0, 0
    work = folder / "killed"
    while True:
        killed = done < kills and _start_and_kill(kind, work, moments, longest, whole)
        if killed:
            done += 1
            with_state += bool(whole_state(work))
            print(f"  {kind}: kill {done} of {kills}, {_newest(work)}", flush=True)
            continue
        if done >= kills:
            run_to_the_end(kind, work)
        finished += 1
        same += results(work) == expected
        print(f"  {kind}: run {finished} finished, same bytes: {results(work) == expected}")
        shutil.rmtree(work, ignore_errors=True)
        if done >= kills:
            break
    return {
        "kills": done,
        "kills_with_saved_state": with_state,
        "finished_runs": finished,
        "bit_identical_runs": same,
        "files_compared": len(expected),
        "uninterrupted_seconds": round(whole["seconds"], 1),
        "passed": same == finished and bool(expected),
    }


def _start_and_kill(
    kind: Kind, work: Path, moments: random.Random, longest: float, whole: dict[str, Any]
) -> bool:
    """Start and kill at a random moment; return False where the run finished before it."""
    with Worker(kind, work) as worker:
        if moments.random() < _SHARE_IN_START:
            return worker.sleep(moments.uniform(0, whole["start_seconds"]))
        worker.wait_until_ready()
        if worker.sleep(moments.uniform(0, longest)):
            return True
        status, errors, _ = worker.finish()
        if status != 0:
            raise RuntimeError(f"{kind} ended with status {status}: {errors[-2000:]}")
        return False


def _newest(work: Path) -> str:
    names = whole_state(work)
    return f"newest whole: {names[-1]}" if names else "nothing saved yet"
