"""The comparison as tables: plain text for the terminal, cells for the report.

Up to `MOST_COLUMNS` methods are columns and the prompts are rows. More methods are rows, and the
columns are training and unseen prompts; `prompt_tables` has the single prompts then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.config import Pair
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import (
    BASE,
    SPLIT_LABELS,
    MethodLabel,
    metric,
    one_line,
)
from dpok_pipeline.evaluation.reading import (
    Cells,
    estimates,
    main_metrics,
    measured,
    measured_contrasts,
    present,
    splits,
    units,
)

#: Methods that have room as columns of each metric; more become rows.
MOST_COLUMNS = 3
#: Contrasts that have room as columns of each metric; the configured order says which.
MOST_CONTRASTS = 2
FURTHER_METRICS = ("saturation", "diversity", "kl")
SPLIT_COLUMNS = {"train": "train", "unseen": "unseen"}
LEAST_NAME, MOST_NAME = 24, 40  # characters of a prompt or method on the terminal
TERMINAL_WIDTH = 100  # characters


class Cell(NamedTuple):
    """One number of a table, written out; empty where nothing was measured."""

    number: str = ""
    interval: str = ""
    best: bool = False
    note: str = ""


class TableRow(NamedTuple):
    """A prompt, method or contrast and its cells; `total` marks the mean over prompts."""

    name: str
    cells: list[Cell]
    total: bool = False
    colour: str = ""


class Table(NamedTuple):
    """Column groups (label, columns) over groups of rows (label, rows).

    The label of a group of rows may be empty. `corner` says what the rows are.
    """

    corner: str
    header: list[tuple[str, list[str]]]
    groups: list[tuple[str, list[TableRow]]]


CellsOf = Callable[[Cells], list[Cell]]


def is_turned(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> bool:
    """Say whether there are too many methods for columns, so that they are rows."""
    return len(measured(comparison, methods)) > MOST_COLUMNS


def level_table(
    comparison: pd.DataFrame,
    methods: Sequence[MethodLabel],
    metrics: Sequence[str] | None = None,
) -> Table:
    """Lay out each method's levels of some metrics (the main ones), with their intervals.

    The best method of each main metric is marked.

    Args:
        comparison: As `comparison.compare` returns it.
        methods: Methods to show; one that was not measured is left out.
        metrics: Metrics to show; one that was not measured is left out.
    """
    main, shown = main_metrics(comparison), measured(comparison, methods)
    names = main if metrics is None else present(comparison, metrics)
    if not is_turned(comparison, methods):
        header = [(metric(name).label, [method.label for method in shown]) for name in names]
        return Table("Prompt", header, _split_groups(comparison, _level_cells(names, shown, main)))

    columns = [(name, split) for name in names for split in splits(comparison)]
    groups = []
    for unit in units(comparison):
        by_column = []
        for name, split in columns:
            cells = unit.cells.get(split, {})
            by_column.append(_level_cells([name], shown, main)(cells))
        rows = [
            TableRow(method.label, [column[place] for column in by_column], colour=method.colour)
            for place, method in enumerate(shown)
        ]
        groups.append((unit.title, rows))
    return Table("Method", _turned_header(comparison, names), groups)


def shown_contrasts(
    comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> list[tuple[MethodLabel, MethodLabel]]:
    """List the pairs of the table of differences: all as rows, the first few as columns."""
    pairs = measured_contrasts(comparison, methods)
    return pairs if is_turned(comparison, methods) else pairs[:MOST_CONTRASTS]


def difference_table(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> Table:
    """Lay out the paired differences, and how often the first of a pair scores higher.

    See `shown_contrasts` for which of them.
    """
    names, pairs = main_metrics(comparison), shown_contrasts(comparison, methods)
    if not is_turned(comparison, methods):
        columns = [_pair_label(*pair) for pair in pairs]
        header = [(metric(name).label + _unit_of(name), columns) for name in names if pairs]

        def cells(values: Cells) -> list[Cell]:
            return [_difference(values, name, (a.name, b.name)) for name in names for a, b in pairs]

        return Table("Prompt", header, _split_groups(comparison, cells))

    groups = []
    with_base = [pair for pair in pairs if pair[1].name == BASE.name]
    others = [pair for pair in pairs if pair not in with_base]
    for unit in units(comparison):
        for part in (others, with_base):
            rows = [
                TableRow(
                    _pair_label(a, b),
                    [
                        _difference(unit.cells.get(split, {}), name, (a.name, b.name))
                        for name in names
                        for split in splits(comparison)
                    ],
                )
                for a, b in part
            ]
            against = "against the base model" if part is with_base else "against each other"
            if rows:
                groups.append((f"{unit.title} – {against}", rows))
    header = _turned_header(comparison, names, unit_of=_unit_of)
    return Table("Difference", header, groups)


def prompt_tables(
    comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> list[tuple[str, Table]]:
    """Lay out every single prompt where methods are rows: one table per main metric.

    Returns:
        Titled tables; none where the other tables have every prompt already.
    """
    single = comparison[comparison["prompt_id"] != "mean"]
    shown = measured(comparison, methods)
    if not is_turned(comparison, methods) or single["prompt_id"].nunique() <= len(splits(single)):
        return []
    tables = []
    for name in main_metrics(comparison):
        header, columns = [], []
        for split in splits(single):
            rows = single[(single["split"] == split) & (single["metric"] == name)]
            parts = [part for _, part in rows.groupby(["experiment", "prompt_id"], sort=False)]
            titles = [one_line(str(part["prompt"].iloc[0]), MOST_NAME) for part in parts]
            header.append((SPLIT_LABELS[split], titles))
            columns += [_level_cells([name], shown, [name])(estimates(part)) for part in parts]
        table_rows = [
            TableRow(method.label, [column[place] for column in columns], colour=method.colour)
            for place, method in enumerate(shown)
        ]
        tables.append((metric(name).label, Table("Method", header, [("", table_rows)])))
    return tables


def terminal_table(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> str:
    """Write the levels as a plain-text table; means only.

    Long prompts are cut, and metrics for which `TERMINAL_WIDTH` still has no room follow in a
    further block.
    """
    table = level_table(comparison, methods)
    rows = [row for _, group in table.groups for row in group]
    labels = [column for _, columns in table.header for column in columns]
    numbers = [cell.number for row in rows for cell in row.cells]
    shares = [math.ceil(len(label) / len(columns)) for label, columns in table.header]
    # All columns are equally wide, so that the numbers of one metric can be read as one block.
    width = max([7, *shares, *(len(text) + 1 for text in (*labels, *numbers))])
    room = TERMINAL_WIDTH - sum(2 + width * len(columns) for _, columns in table.header)
    longest = min(max(room, LEAST_NAME), MOST_NAME)
    names = [table.corner, *(one_line(row.name, longest) for row in rows)]
    name_width = max(map(len, names))
    blocks, start = [], 0
    for block in _blocks(table.header, name_width, width):
        count = sum(len(columns) for _, columns in block)
        part = [
            (title, [row._replace(cells=row.cells[start : start + count]) for row in group])
            for title, group in table.groups
        ]
        blocks.append(_text(Table(table.corner, block, part), name_width, width))
        start += count
    return "\n\n".join(blocks)


def _blocks(
    header: list[tuple[str, list[str]]], name_width: int, width: int
) -> Iterator[list[tuple[str, list[str]]]]:
    """Divide column groups so that each part fits on the terminal; one group always does."""
    block: list[tuple[str, list[str]]] = []
    used = name_width
    for label, columns in header:
        needed = 2 + width * len(columns)
        if block and used + needed > TERMINAL_WIDTH:
            yield block
            block, used = [], name_width
        block.append((label, columns))
        used += needed
    yield block


def _text(table: Table, name_width: int, width: int) -> str:
    """Write a table with columns of equal width."""
    top, head = " " * name_width, table.corner.ljust(name_width)
    for label, columns in table.header:
        span = width * len(columns)
        top += "  " + one_line(label, span).center(span)
        head += "  " + "".join(column.rjust(width) for column in columns)
    lines = [top.rstrip(), head, "─" * len(head)]
    for title, group in table.groups:
        if title:
            lines.append(one_line(title, TERMINAL_WIDTH))
        for row in group:
            line, start = one_line(row.name, name_width).ljust(name_width), 0
            for _, columns in table.header:
                cells = row.cells[start : start + len(columns)]
                line += "  " + "".join(cell.number.rjust(width) for cell in cells)
                start += len(columns)
            lines.append(line)
    return "\n".join(lines)


def _turned_header(
    comparison: pd.DataFrame,
    names: Sequence[str],
    unit_of: Callable[[str], str] = lambda name: "",
) -> list[tuple[str, list[str]]]:
    columns = [SPLIT_COLUMNS[split] for split in splits(comparison)]
    return [(metric(name).label + unit_of(name), columns) for name in names]


def _unit_of(name: str) -> str:
    """Name the unit of a difference: those of shares are points, not per cent."""
    return ", points" if metric(name).share else ""


def _pair_label(ours: MethodLabel, theirs: MethodLabel) -> str:
    return f"{ours.label} − {theirs.label}"


def _level_cells(
    names: Sequence[str], methods: Sequence[MethodLabel], ranked: Sequence[str]
) -> CellsOf:
    """Make a function that lays out one prompt's levels: metric by metric, method by method."""

    def cells(values: Cells) -> list[Cell]:
        row = []
        for name in names:
            levels = [_cell(values.get((name, method.name)), name) for method in methods]
            row += _mark_best(levels, values, name, methods) if name in ranked else levels
        return row

    return cells


def _difference(values: Cells, name: str, pair: Pair) -> Cell:
    """Write a paired difference, with the win rate below."""
    cell = _cell(values.get((name, " - ".join(pair))), name, signed=True)
    won = values.get((name, " beats ".join(pair)))
    # Yes and no tie too often for a win rate to say more than the difference.
    if won is not None and not metric(name).share:
        return cell._replace(note=f"wins {100 * won.mean:.0f} %")
    return cell


def _cell(estimate: Interval | None, name: str, *, signed: bool = False) -> Cell:
    if estimate is None:
        return Cell()
    shown = metric(name)
    ends = " to ".join(shown.number(end, signed).removesuffix(" %") for end in estimate[1:])
    # The base model's distance from itself is 0 and has no interval.
    exact = estimate.low == estimate.high == estimate.mean
    return Cell(shown.number(estimate.mean, signed), "" if exact else ends)


def _mark_best(
    cells: list[Cell], values: Cells, name: str, methods: Sequence[MethodLabel]
) -> list[Cell]:
    """Mark the highest of one metric's cells; cells that read the same are marked together."""
    means = [values[name, method.name].mean for method in methods if (name, method.name) in values]
    if len(means) < 2:
        return cells
    highest = metric(name).number(max(means))
    return [cell._replace(best=cell.number == highest) for cell in cells]


def _split_groups(comparison: pd.DataFrame, cells: CellsOf) -> list[tuple[str, list[TableRow]]]:
    """Group the prompts, each a row, by split."""
    groups = []
    for split, label in SPLIT_LABELS.items():
        part = comparison[comparison["split"] == split]
        keys = ["experiment", "prompt_id", "prompt"]
        rows = [
            TableRow(str(prompt), cells(estimates(values)), total=prompt_id == "mean")
            for (_, prompt_id, prompt), values in part.groupby(keys, sort=False)
        ]
        if rows:
            # One prompt needs no plural.
            prompts = sum(not row.total for row in rows)
            groups.append((label if prompts > 1 else label.removesuffix("s"), rows))
    return groups
