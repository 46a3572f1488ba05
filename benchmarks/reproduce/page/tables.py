"""Tables of docs/results.md, and how a cell writes a level or a difference."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.reproduce.page.estimates import Estimates, difference
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import metric

#: What is shown of every method.
SHOWN = ("image_reward", "judge", "aesthetic")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def training_seeds(count: int) -> str:
    """Say how many training seeds something rests on."""
    return "one training seed" if count == 1 else f"{count} training seeds"


def level_cell(name: str, value: Interval) -> str:
    """Write a level of a metric with its 95 % interval, cut where no level can be."""
    scale = metric(name)
    low = max(value.low, 0.0) if scale.share or name == "kl" else value.low
    high = min(value.high, 1.0) if scale.share else value.high
    return f"{scale.number(value.mean)} ({scale.number(low)} to {scale.number(high)})"


def level_cells(found: Estimates, method: str, names: Sequence[str] = SHOWN) -> list[str]:
    """Write a method's levels of several metrics."""
    return [level_cell(name, found.cells[name, method]) for name in names]


def difference_cell(value: Interval, name: str) -> str:
    """Write a difference of a metric with its 95 % interval, bold where that is not around 0."""
    number = metric(name).number
    unit = " points" if metric(name).share else ""
    low, high = number(value.low, signed=True), number(value.high, signed=True)
    mean = f"{number(value.mean, signed=True)}{unit}"
    return f"{f'**{mean}**' if value.low > 0 or value.high < 0 else mean} ({low} to {high})"


def difference_between(found: Estimates, name: str, ours: str, theirs: str) -> str:
    """Write how much more of a metric the one method has than the other."""
    return difference_cell(difference(found, name, ours, theirs), name)


def difference_cells(found: Estimates, ours: str, theirs: str) -> list[str]:
    """Write how much more of the metrics that are shown the one method has than the other."""
    return [difference_between(found, name, ours, theirs) for name in SHOWN]
