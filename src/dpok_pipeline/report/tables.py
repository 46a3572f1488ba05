"""The comparison as tables: plain text for the terminal, cells for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.comparison import estimates
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import (
    CONTRASTS,
    METRICS,
    MODEL_LABELS,
    MODELS,
    SPLIT_LABELS,
    metric,
    one_line,
)

MAIN_METRICS = ("reward", "image_reward", "aesthetic", "judge")
PROMPT_LENGTH = 40  # characters of a prompt on the terminal
FURTHER_METRICS = ("saturation", "diversity", "kl")


class Cell(NamedTuple):
    """One number of a table, written out; empty where nothing was measured."""

    number: str = ""
    interval: str = ""
    best: bool = False
    note: str = ""


class TableRow(NamedTuple):
    """A prompt and its cells; `total` marks the mean over prompts."""

    prompt: str
    experiment: str
    cells: list[Cell]
    total: bool


class Table(NamedTuple):
    """Column groups (label, columns) over rows that are grouped by split."""

    header: list[tuple[str, list[str]]]
    groups: list[tuple[str, list[TableRow]]]


CellsOf = Callable[[dict[tuple[str, str], Interval]], list[Cell]]


def present(comparison: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Those of `metrics` that the comparison has."""
    known = set(comparison["metric"])
    return [name for name in metrics if name in known]


def main_metrics(comparison: pd.DataFrame) -> list[str]:
    """What is shown first: the reward, the usual scores, and every scorer of the user's own."""
    own = [str(name) for name in comparison["metric"].unique() if name not in METRICS]
    return [*present(comparison, MAIN_METRICS), *own]


def level_table(comparison: pd.DataFrame, metrics: Sequence[str] | None = None) -> Table:
    """Prompt × model for each metric (the main ones), with the interval and the best marked."""
    main, models = main_metrics(comparison), _models(comparison)
    names = main if metrics is None else present(comparison, metrics)
    header = [(metric(name).label, [MODEL_LABELS[model] for model in models]) for name in names]

    def cells(values: dict[tuple[str, str], Interval]) -> list[Cell]:
        row = []
        for name in names:
            own = [_cell(values.get((name, model)), name) for model in models]
            row += _mark_best(own, values, name) if name in main else own
        return row

    return Table(header, _groups(comparison, cells))


def difference_table(comparison: pd.DataFrame) -> Table:
    """Paired difference of DPOK to base model and SFT, and how often it wins."""
    names, models = main_metrics(comparison), _models(comparison)
    pairs = [(a, b) for a, b in CONTRASTS[:2] if a in models and b in models]
    columns = [f"{MODEL_LABELS[a]} − {MODEL_LABELS[b]}" for a, b in pairs]
    header = [(metric(name).label + _unit(name), columns) for name in names]

    def cells(values: dict[tuple[str, str], Interval]) -> list[Cell]:
        row = []
        for name in names:
            for a, b in pairs:
                cell = _cell(values.get((name, f"{a} - {b}")), name, signed=True)
                won = values.get((name, f"{a} beats {b}"))
                # Yes and no tie too often for a win rate to say more than the difference.
                if won is not None and not metric(name).share:
                    cell = cell._replace(note=f"wins {100 * won.mean:.0f} %")
                row.append(cell)
        return row

    return Table(header, _groups(comparison, cells))


def terminal_table(comparison: pd.DataFrame) -> str:
    """Prompt × model as a plain-text table, about 100 columns with three metrics; means only."""
    table = level_table(comparison)
    rows = [row for _, group in table.groups for row in group]
    prompts = {row.prompt: one_line(row.prompt, PROMPT_LENGTH) for row in rows}
    prompt_width = max([len("Prompt"), *map(len, prompts.values())])
    width = max([6, *(len(cell.number) for row in rows for cell in row.cells)]) + 1
    top, head = " " * prompt_width, "Prompt".ljust(prompt_width)
    for label, columns in table.header:
        top += "  " + label.center(width * len(columns))
        head += "  " + "".join(column.rjust(width) for column in columns)
    lines = [top.rstrip(), head, "─" * len(head)]
    for title, group in table.groups:
        lines.append(title)
        for row in group:
            line, start = prompts[row.prompt].ljust(prompt_width), 0
            for _, columns in table.header:
                cells = row.cells[start : start + len(columns)]
                line += "  " + "".join(cell.number.rjust(width) for cell in cells)
                start += len(columns)
            lines.append(line)
    return "\n".join(lines)


def _models(comparison: pd.DataFrame) -> list[str]:
    quantities = set(comparison["quantity"])
    return [model for model in MODELS if model in quantities]


def _unit(name: str) -> str:
    """Differences of shares are points, not per cent."""
    return ", points" if metric(name).share else ""


def _cell(estimate: Interval | None, name: str, *, signed: bool = False) -> Cell:
    if estimate is None:
        return Cell()
    shown = metric(name)
    ends = " to ".join(shown.number(end, signed).removesuffix(" %") for end in estimate[1:])
    # The base model's distance from itself is 0 and has no interval.
    exact = estimate.low == estimate.high == estimate.mean
    return Cell(shown.number(estimate.mean, signed), "" if exact else ends)


def _mark_best(cells: list[Cell], values: dict[tuple[str, str], Interval], name: str) -> list[Cell]:
    """Mark the highest of one metric's cells; cells that read the same are marked together."""
    means = [values[name, model].mean for model in MODELS if (name, model) in values]
    if len(means) < 2:
        return cells
    highest = metric(name).number(max(means))
    return [cell._replace(best=cell.number == highest) for cell in cells]


def _groups(comparison: pd.DataFrame, cells: CellsOf) -> list[tuple[str, list[TableRow]]]:
    groups = []
    for split, label in SPLIT_LABELS.items():
        part = comparison[comparison["split"] == split]
        rows = list(_rows(part, cells))
        if rows:
            # One prompt needs no plural.
            prompts = sum(not row.total for row in rows)
            groups.append((label if prompts > 1 else label.removesuffix("s"), rows))
    return groups


def _rows(part: pd.DataFrame, cells: CellsOf) -> Iterator[TableRow]:
    keys = ["experiment", "prompt_id", "prompt"]
    for (experiment, prompt_id, prompt), own in part.groupby(keys, sort=False):
        total = prompt_id == "mean"
        yield TableRow(str(prompt), str(experiment), cells(estimates(own)), total)
