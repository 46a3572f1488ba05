"""The durability figures: `python -m benchmarks.stress [PART …]`.

What is finished is in `benchmarks/results/stress.json` and not done again unless `--fresh`: given
again, an interrupted command goes on with the next part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.stress.batches import compare_batch_sizes
from benchmarks.stress.budgets import BUDGETS, Kind
from benchmarks.stress.checkpoints import checkpoint_cost
from benchmarks.stress.disk import Unavailable, fill_disk
from benchmarks.stress.generation import generate_many
from benchmarks.stress.kills import kill_and_restart

RESULTS = Path(__file__).parents[1] / "results" / "stress.json"
PARTS = ("kills", "disk", "generation", "checkpoints", "batches")
SETTINGS = ("kills", "images", "budget", "seed")
KINDS: tuple[Kind, ...] = ("rl", "sft", "generation")

Case = Callable[[], dict[str, Any]]


def parse() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--kills", type=int, default=20, help="kills, and fillings of the disk")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of these alone")
    parser.add_argument("--images", type=int, default=20_000, help="of the part generation")
    parser.add_argument(
        "--budget", choices=BUDGETS, default="demo", help="of generation, checkpoints and batches"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--folder", type=Path, default=Path("build/stress"), help="to work in")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON that is written")
    parser.add_argument("--fresh", action="store_true", help="do finished cases again")
    chosen = parser.parse_args()
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join(PARTS)}")
    return chosen


def cases(chosen: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """Every case of the chosen parts by its name."""
    folder, kills, seed = chosen.folder.resolve(), chosen.kills, chosen.seed
    for part in chosen.parts or PARTS:
        alone: dict[str, Case] = {
            "generation": lambda: generate_many(
                folder / "generation", chosen.images, seed, chosen.budget
            ),
            "batches": lambda: compare_batch_sizes(seed, chosen.budget),
        }
        if part in alone:
            yield part, alone[part]
            continue
        for kind in chosen.kinds:
            if part == "checkpoints" and kind == "generation":  # it has shards instead
                continue
            place = folder / part / kind
            run: dict[str, Case] = {
                "kills": lambda k=kind, p=place: kill_and_restart(k, p, kills, seed),
                "disk": lambda k=kind, p=place: fill_disk(k, p, kills, seed),
                "checkpoints": lambda k=kind, p=place: checkpoint_cost(k, p, chosen.budget),
            }
            yield f"{part} {kind}", run[part]


def main() -> int:
    """Run the cases that are not finished; status 1 where one fails."""
    chosen = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the worker is ended, too
    found: dict[str, Any] = {}
    if chosen.results.is_file():
        found = json.loads(chosen.results.read_text(encoding="utf-8"))
    for name, case in cases(chosen):
        wanted = {setting: getattr(chosen, setting) for setting in SETTINGS}
        known = found.get(name, {})
        if known.get("settings") == wanted and known["passed"] and not chosen.fresh:
            print(f"{name}: done already")
            continue
        print(f"{name} …", flush=True)
        started = time.monotonic()
        try:
            outcome = case()
        except Unavailable as reason:
            outcome = {"skipped": str(reason), "passed": True}
        except RuntimeError as error:  # a worker that ended as it should not
            outcome = {"error": str(error), "passed": False}
        outcome["wall_seconds"] = round(time.monotonic() - started, 1)
        found[name] = {**outcome, "settings": wanted, "machine": machine()}
        write(chosen.results, found)
        print(f"{name}: {json.dumps(outcome)}", flush=True)
    failed = [name for name, outcome in found.items() if not outcome["passed"]]
    for name in failed:
        print(f"{name}: FAILED", file=sys.stderr)
    return 1 if failed else 0


def machine() -> str:
    """What the figures were measured on."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}, {cores} core(s), torch {torch.__version__}"


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the results so that an interruption leaves the old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
