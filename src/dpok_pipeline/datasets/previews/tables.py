"""Tables as previews: of a frame's first rows, and of what there is to say of one thing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    from kedro_datasets._typing import TablePreview

MOST_RECORDS = 40
LONGEST = 100  # characters of a cell
LONGEST_LIST = 3  # values of a cell


def table(frame: pd.DataFrame, rows: int, left_out: int = 0) -> TablePreview:
    """Show a frame's first rows.

    Args:
        frame: The table, or its first columns.
        rows: How many rows.
        left_out: Number of columns that the frame is short of.
    """
    from kedro_datasets._typing import TablePreview

    shown = frame.head(rows)
    columns = [str(name) for name in shown.columns]
    data = [[cell(value) for value in row] for row in shown.itertuples(index=False)]
    if left_out:
        columns.append(f"… {left_out} more")
        data = [[*row, "…"] for row in data]
    return TablePreview({"index": list(range(len(data))), "columns": columns, "data": data})


def facts(rows: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> TablePreview:
    """Show what there is to say of one thing, a line each; what is empty is left out."""
    from kedro_datasets._typing import TablePreview

    pairs = rows.items() if isinstance(rows, Mapping) else rows
    data = [[name, cell(value)] for name, value in pairs if value not in (None, "", [], {})]
    return TablePreview({"index": list(range(len(data))), "columns": ["", "value"], "data": data})


def records(rows: Sequence[NamedTuple]) -> TablePreview:
    """Show the first of some records, a column for each of their fields.

    Raises:
        ValueError: There is none.
    """
    import pandas as pd

    if not rows:
        raise ValueError("no record to preview")
    return table(pd.DataFrame(rows[:MOST_RECORDS], columns=rows[0]._fields), MOST_RECORDS)


def cell(value: Any) -> str | int | float:
    """Write a value as it is read best: four digits, no long lists, no missing value's name."""
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "" if value is None or math.isnan(value) else str(value)  # JSON has no infinity
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return size(len(value))
    if isinstance(value, list | tuple):
        parts = [str(cell(part)) for part in value[:LONGEST_LIST]]
        return ", ".join([*parts, f"… {len(value)} in all"] if len(value) > LONGEST_LIST else parts)
    # Kedro makes paths absolute; who reads a published page has another folder.
    text = str(value).replace(f"{Path.cwd()}/", "")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_each:
            return f"{count / bytes_each:.1f} {unit}"
    return f"{count} bytes"


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
