"""The durability figures: `python -m benchmarks.stress [PART …]`.

What is finished is in `benchmarks/results/stress.json` and not done again unless `--fresh`: given
again, an interrupted command goes on with the next part.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rounding import check_configured
from benchmarks.stress.batches import compare_batch_sizes
from benchmarks.stress.budgets import BUDGETS, KINDS
from benchmarks.stress.checkpoints import checkpoint_cost
from benchmarks.stress.disk import Unavailable, fill_disk
from benchmarks.stress.generation import generate_many
from benchmarks.stress.kills import kill_and_restart

RESULTS = Path(__file__).parents[1] / "results" / "stress.json"
PARTS = ("kills", "disk", "generation", "checkpoints", "batches", "rounding", "fuzz")
SETTINGS = ("kills", "images", "cases", "budget", "seed")

Case = Callable[[], dict[str, Any]]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all otherwise"
    )
    parser.add_argument(
        "--kills", type=int, default=20, help="number of kills, and of fillings of the disk"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is killed and starved"
    )
    parser.add_argument(
        "--images", type=int, default=20_000, help="number of images of the part generation"
    )
    parser.add_argument("--cases", type=int, default=2000, help="number of inputs of the part fuzz")
    parser.add_argument(
        "--budget",
        choices=BUDGETS,
        default="demo",
        help="budget of generation, checkpoints and batches",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/stress"), help="folder to work in"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file of the results")
    parser.add_argument("--fresh", action="store_true", help="do finished cases again")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join(PARTS)}")
    return arguments


def cases(arguments: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """Yield every case of the parts that the command line names, with its name."""
    folder, seed, budget = arguments.folder.resolve(), arguments.seed, arguments.budget
    for part in arguments.parts or PARTS:
        if part == "generation":
            yield part, partial(generate_many, folder / part, arguments.images, seed, budget)
        elif part == "batches":
            yield part, partial(compare_batch_sizes, seed, budget)
        elif part == "rounding":
            yield part, partial(check_configured, seed)
        elif part == "fuzz":
            yield part, partial(try_inputs, arguments.cases)
        else:
            for kind in arguments.kinds:
                place = folder / part / kind
                case: Case
                if part == "kills":
                    case = partial(kill_and_restart, kind, place, arguments.kills, seed)
                elif part == "disk":
                    case = partial(fill_disk, kind, place, arguments.kills, seed)
                elif kind == "generation":  # it has shards instead of checkpoints
                    continue
                else:
                    case = partial(checkpoint_cost, kind, place, budget)
                yield f"{part} {kind}", case


def main() -> int:
    """Run the cases that are not finished; the exit status is 1 where one fails."""
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the worker is ended, too
    outcomes: dict[str, Any] = {}
    if arguments.results.is_file():
        outcomes = json.loads(arguments.results.read_text(encoding="utf-8"))
    for name, case in cases(arguments):
        settings = {setting: getattr(arguments, setting) for setting in SETTINGS}
        known = outcomes.get(name, {})
        if known.get("settings") == settings and known["passed"] and not arguments.fresh:
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
        outcomes[name] = {**outcome, "settings": settings, "machine": machine()}
        write(arguments.results, outcomes)
        print(f"{name}: {json.dumps(outcome)}", flush=True)
    failed = [name for name, outcome in outcomes.items() if not outcome["passed"]]
    for name in failed:
        print(f"{name}: FAILED", file=sys.stderr)
    return 1 if failed else 0


def try_inputs(number: int) -> dict[str, Any]:
    """Try inputs that are wrong in some way, new ones each time."""
    from benchmarks.fuzz.__main__ import FAMILIES, fuzz, new_seed

    seed = new_seed()
    print(f"seed {seed}", flush=True)
    each = -(-number // len(FAMILIES))
    outcomes, failures = fuzz([*FAMILIES], each, each * 3 // 100, seed)
    return {"seed": seed, **outcomes, "passed": not failures}


def machine() -> str:
    """Describe what the figures were measured on."""
    from benchmarks.measure import cores_and_torch

    return f"{platform.machine()}, {cores_and_torch()}"


def write(path: Path, outcomes: dict[str, Any]) -> None:
    """Write the results so that an interruption leaves the old ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(outcomes, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
