"""What checkpoints cost at a budget's frequency; the demo's has the default one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import BUDGETS, Kind
from benchmarks.stress.processes import run_to_the_end

LIMIT = 0.02


def checkpoint_cost(kind: Kind, folder: Path, budget: str) -> dict[str, Any]:
    """Train a method, and measure the share of the time that saving takes.

    Args:
        kind: The method.
        folder: The folder of this part and kind alone.
        budget: The name of the budget.
    """
    work = folder / "work"
    shutil.rmtree(folder, ignore_errors=True)
    if kind == "sft":
        run_to_the_end("generation", folder / "samples", "--budget", budget)
    report = run_to_the_end(kind, work, "--budget", budget)
    training = BUDGETS[budget]().methods[kind].training
    share = report["checkpoint_seconds"] / report["seconds"]
    newest = max((work / "checkpoints").iterdir())
    return {
        "minutes_between": training.checkpoint_minutes,
        "steps_between": training.checkpoint_every,
        "seconds": round(report["seconds"], 1),
        "checkpoint_seconds": round(report["checkpoint_seconds"], 3),
        "share": round(share, 5),
        "bytes_each": sum(path.stat().st_size for path in newest.iterdir()),
        "passed": share <= LIMIT,
    }
