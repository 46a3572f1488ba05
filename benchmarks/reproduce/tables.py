"""Tables of docs/results.md, and how a cell writes a level or a difference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks.configured import read
from benchmarks.reproduce.reading import Estimates, difference
from dpok_pipeline.evaluation.claims import verdict
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MethodLabel, metric


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def level_cell(name: str, value: Interval) -> str:
    """Write a level of a metric with its 95 % interval."""
    number = metric(name).number
    return f"{number(value.mean)} ({number(value.low)} to {number(value.high)})"


def difference_cell(value: Interval, name: str) -> str:
    """Write a difference of a metric with its 95 % interval and its verdict."""
    number = metric(name).number
    unit = " points" if metric(name).share else ""
    low, high = number(value.low, signed=True), number(value.high, signed=True)
    return f"{number(value.mean, signed=True)}{unit} ({low} to {high}): {verdict(value)}"


def difference_between(found: Estimates, name: str, ours: str, theirs: str) -> str:
    """Write how much more of a metric the one method has than the other."""
    return difference_cell(difference(found, name, ours, theirs), name)


@cache
def method_labels(env: str) -> dict[str, MethodLabel]:
    """Return how an environment's methods are shown."""
    methods = read(env).methods.values()
    return {one.name: MethodLabel(one.name, one.label, one.colour) for one in methods}
