"""Tries thousands of inputs: `python -m benchmarks.fuzz [--cases 2000] [--commands 60]`.

Each must work, or be refused in one clear line. Those that do neither are printed and kept in
tests/end_to_end/fuzz_cases.jsonl, which a test does again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fuzz import configurations, models, parameters, prompts, rewards
from benchmarks.fuzz.cases import Case, Family, draw
from benchmarks.fuzz.judging import judge
from benchmarks.fuzz.project import Project, isolated

KEPT = Path(__file__).parents[2] / "tests" / "end_to_end" / "fuzz_cases.jsonl"
FAMILIES: dict[str, Family] = {
    "prompts": prompts.FAMILY,
    "configurations": configurations.FAMILY,
    "parameters": parameters.FAMILY,
    "models": models.FAMILY,
    "rewards": rewards.FAMILY,
}
#: What there is to say of a case whose process has ended or hung.
LOST = (1, 0.0, "the process hangs, or has ended by itself")
#: Seconds after which a whole command is given up.
LONGEST_COMMAND = 240.0
#: Numbers with which a whole command would take hours.
LARGE = re.compile(r"\b\d{3,}\b(?!\.py)|e\d\d")
#: Number of processes that share a family's cases.
PARTS = max(1, min(4, os.cpu_count() or 1))
Failure = tuple[Case, str]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="number of cases in all")
    parser.add_argument("--commands", type=int, default=60, help="number of whole commands in all")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument(
        "--seed", type=int, default=None, help="another one each time, if not given"
    )
    return parser.parse_args()


def try_family(
    project: Project, name: str, cases: list[Case]
) -> tuple[dict[str, Any], list[Failure]]:
    """Try cases of one family, up to the point where a run begins.

    Returns:
        How many were accepted and refused, how long the slowest took; and the failures.
    """
    family, counts, failures, slowest = FAMILIES[name], Counter[str](), [], 0.0
    # Each case is a fork of this process, which has opened all models already.
    plain = project.run(Case(name), family.look).seen
    for case in cases:
        status, seconds, reason = isolated(partial(_try, project, family, case, plain)) or LOST
        project.restore(case)
        if reason is not None:
            failures.append(_failed(case, reason))
        counts["refused" if status else "accepted"] += 1
        slowest = max(slowest, seconds)
    figures = {"cases": len(cases), **counts, "slowest_seconds": round(slowest, 1)}
    return {**figures, "failures": len(failures)}, failures


def _failed(case: Case, reason: str) -> Failure:
    print(f"{case.to_json()}\n  {reason}", flush=True)
    return case, reason


def _try(
    project: Project, family: Family, case: Case, plain: dict[str, Any]
) -> tuple[int, float, str | None]:
    outcome = project.run(case, family.look)
    reason = judge(outcome)
    if reason is None and outcome.status == 0:
        reason = family.check(case, outcome, plain)
    return outcome.status, outcome.seconds, reason


def try_commands(
    project: Project, name: str, cases: list[Case], number: int
) -> tuple[dict[str, Any], list[Failure]]:
    """Give some cases as whole commands, processes of their own that run to the end."""
    counts, failures = Counter[str](), []
    fitting = [case for case in cases if case.env == "smoke" and not LARGE.search(_new(case))]
    for case in fitting[:number]:
        outcome = project.command(case, LONGEST_COMMAND)
        reason = judge(outcome, checked_only=False)
        if reason is not None:
            failures.append(_failed(case, f"as a whole command: {reason}"))
        counts["refused" if outcome.status else "accepted"] += 1
    return {"cases": len(fitting[:number]), **counts, "failures": len(failures)}, failures


def _new(case: Case) -> str:
    """Return the words of a case that were not in its file before."""
    before = str(case.expected.get("was", "")).split()
    words = [word for edit in case.edits for word in str(edit.get("text", "")).split()]
    return " ".join([*case.options, *(word for word in words if word not in before)])


def try_part(
    name: str, number: int, commands: int, seed: int | None, part: int
) -> tuple[dict[str, Any], list[Failure]]:
    """Try every `PARTS`-th case of one family in a project of its own, from number `part` on."""
    with tempfile.TemporaryDirectory() as folder, Project(Path(folder)) as project:
        project.run(Case("none"), lambda pipeline, catalog: {})  # It imports everything.
        cases = draw(FAMILIES[name].cases(project.template), number, seed)[part::PARTS]
        figures, failures = try_family(project, name, cases)
        if commands:
            share = len(range(part, commands, PARTS))
            figures["commands"], failed = try_commands(project, name, cases, share)
            failures += failed
    return figures, failures


def fuzz(
    names: Sequence[str], number: int, commands: int, seed: int | None
) -> tuple[dict[str, Any], list[Failure]]:
    """Try cases of families, as many at once as there are cores; keep those that fail.

    Args:
        names: Names of the families.
        number: Number of cases of each.
        commands: How many of each are given as whole commands, too.
        seed: Seed of the cases; None draws the same ones at every time.

    Returns:
        Figures by family; and the failures.
    """
    outcomes: dict[str, Any] = {}
    failures: list[Failure] = []
    os.environ["OMP_NUM_THREADS"] = "1"  # The processes share the cores.
    # Each case is a fork, and a fork wants a process that has no threads: not this one.
    with ProcessPoolExecutor(PARTS, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            name: [
                pool.submit(try_part, name, number, commands, seed, part) for part in range(PARTS)
            ]
            for name in names
        }
        for name in names:
            parts = [job.result() for job in jobs[name]]
            outcomes[name] = _together([figures for figures, _ in parts])
            failures += [failure for _, failed in parts for failure in failed]
            print(f"{name}: {outcomes[name]}", flush=True)
    with KEPT.open("a", encoding="utf-8") as file:
        file.writelines(f"{case.to_json()}\n" for case, _ in failures)
    return outcomes, failures


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the figures of parts; of times, take the longest."""
    together: dict[str, Any] = {}
    for figures in parts:
        for name, figure in figures.items():
            if isinstance(figure, dict):
                together[name] = _together([together.get(name, {}), figure])
            else:
                before = together.get(name, 0)
                together[name] = max(before, figure) if "slowest" in name else before + figure
    return together


def new_seed() -> int:
    """Choose a seed, another one each time."""
    return random.SystemRandom().randrange(2**32)


def main() -> int:
    """Try everything; the exit status is 1 if a case fails."""
    arguments = parse()
    seed = new_seed() if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    families = len(arguments.families)
    number, commands = arguments.cases // families, arguments.commands // families
    _, failures = fuzz(arguments.families, number, commands, seed)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
