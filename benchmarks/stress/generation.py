"""Very many images: memory, files, bytes and seconds, and what a kill in between costs."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import BUDGETS
from benchmarks.stress.processes import Worker, listed_shards

MEMORY_LIMIT = 2 * 1024**3  # above the loaded model
_POLL = 0.2


def generate_many(folder: Path, images: int, seed: int, budget: str) -> dict[str, Any]:
    """Generate, with one kill at a random shard, and start again.

    Args:
        folder: The folder of this part alone.
        images: Number of images.
        seed: Seed of the moment of the kill.
        budget: The name of the budget, whose steps, precision and shards are taken.

    Returns:
        The figures for the results.
    """
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    options = ("--budget", budget, "--images", str(images))
    shards = -(-images // BUDGETS[budget]().generation.shard_size)
    kill_after = random.Random(seed).randint(1, max(1, shards - 1))
    first = time.monotonic()
    with Worker("generation", work, *options) as worker:
        worker.wait_until_ready()
        while len(_finished(work)) < kill_after and worker.sleep(_POLL):
            pass
        worker.sleep(random.Random(seed + 1).uniform(0, 2))  # into the next shard
        peak = _peak_of(worker)
        worker.kill()
    killed = time.monotonic()
    before = _finished(work)
    print(f"  killed with {len(before)} of {shards} shards finished", flush=True)
    with Worker("generation", work, *options) as worker:
        worker.wait_until_ready()
        while worker.sleep(60):
            print(f"  {len(_finished(work))} of {shards} shards", flush=True)
        status, errors, report = worker.finish()
    if status != 0:
        raise RuntimeError(f"generation ended with status {status}: {errors[-2000:]}")
    return _figures(work, before, report, max(peak, report["peak_bytes"])) | {
        "seconds_until_kill": round(killed - first, 1),
        "seconds": round(time.monotonic() - first, 1),
        "images_per_second": round(images / (time.monotonic() - first), 2),
    }


def _figures(
    work: Path, before: dict[str, int], report: dict[str, Any], peak: int
) -> dict[str, Any]:
    after = _finished(work)
    redone = sum(after[name] != written for name, written in before.items())
    above = peak - report["loaded_bytes"]
    # The killed process was at work on one more shard at most.
    return {
        "images": report["images"],
        "shards": len(after),
        "finished_before_kill": len(before),
        "finished_shards_redone": redone,
        "shards_redone_at_most": redone + 1,
        "files": sum(path.is_file() for path in work.iterdir()),
        "bytes": sum(path.stat().st_size for path in work.iterdir()),
        "peak_bytes": peak,
        "peak_bytes_above_model": above,
        "passed": redone == 0 and above <= MEMORY_LIMIT,
    }


def _finished(work: Path) -> dict[str, int]:
    """Return when each shard that the manifest lists was written, in nanoseconds."""
    return {name: (work / name).stat().st_mtime_ns for name in listed_shards(work)}


def _peak_of(worker: Worker) -> int:
    """Return the highest memory of a process that is about to be killed."""
    try:
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    except OSError:  # no such folder on this system, or it has ended
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
