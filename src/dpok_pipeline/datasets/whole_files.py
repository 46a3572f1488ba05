"""Kedro's tables and JSON files, written so that they are either whole or absent.

Kedro's datasets write into the final path. A kill or a full disk would leave a damaged file there,
and the next command would load it as the newest version.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from kedro_datasets import json as kedro_json
from kedro_datasets import pandas as kedro_pandas

from dpok_pipeline.datasets.previews.curves import curves_figure
from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.tables import table
from dpok_pipeline.files.durable import save_whole

if TYPE_CHECKING:
    from kedro_datasets._typing import JSONPreview, PlotlyPreview, TablePreview

# A spreadsheet computes a cell that begins with one of these; the last four are full-width.
FORMULA_SIGNS = "=+-@\t\r\n＝＋－＠"


class ParquetDataset(kedro_pandas.ParquetDataset):
    """A table in a Parquet file."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        save_whole(self._get_save_path(), data.to_parquet(None, **self._save_args))

    @or_nothing
    def preview(self, nrows: int = 20, columns: int | None = None) -> TablePreview:
        """Return the first rows in the form that kedro-viz shows; no other row is read.

        Args:
            nrows: Number of rows.
            columns: Number of columns; None shows all.
        """
        import pyarrow.parquet as pq

        with pq.ParquetFile(str(self._get_load_path())) as file:
            names = file.schema_arrow.names
            batches = file.iter_batches(nrows, columns=names[:columns])
            rows = next(batches, None)
            frame = pd.DataFrame(columns=names) if rows is None else rows.to_pandas()
        return table(frame, nrows, left_out=len(names) - len(names[:columns]))


class CurvesDataset(ParquetDataset):
    """The learning curves of a training: a table, which kedro-viz draws."""

    @or_nothing
    def preview(self) -> PlotlyPreview:  # type: ignore[override]
        """Return the first curves in the form that kedro-viz shows."""
        return curves_figure(self.load())


class CSVDataset(kedro_pandas.CSVDataset):
    """A table in a CSV file, whose texts are texts to spreadsheets and to pandas.

    One that would be taken for a formula, a number or a missing value is written with an apostrophe
    before it, as people write it in spreadsheets, and is loaded without.
    """

    # Only an empty cell is a missing value: a prompt may be the word `null` or `NA`.
    DEFAULT_LOAD_ARGS: ClassVar[dict[str, Any]] = {"keep_default_na": False, "na_values": [""]}

    def load(self) -> pd.DataFrame:
        """Read the table."""
        table: Any = pd.read_csv(str(self._get_load_path()), **self._load_args)
        return _map_texts(
            table, lambda text: text[1:] if text[:1] == "'" and _is_taken_for_more(text) else text
        )

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        table = _map_texts(data, lambda text: f"'{text}" if _is_taken_for_more(text) else text)
        content = table.to_csv(None, **self._save_args)
        if "\r" in content:  # Python before 3.13 does not quote it by itself.
            content = table.to_csv(None, **self._save_args, quoting=csv.QUOTE_NONNUMERIC)
        save_whole(self._get_save_path(), content.encode())

    @or_nothing
    def preview(self, nrows: int = 20) -> TablePreview:
        """Return the first rows in the form that kedro-viz shows."""
        return table(self.load(), nrows)


def _map_texts(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with each of its texts changed, the names of columns among them."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    texts = table.select_dtypes(exclude=["number", "bool"]).columns
    return table.assign(**{name: table[name].map(changed) for name in texts}).rename(
        columns=changed
    )


def _is_taken_for_more(text: str) -> bool:
    """Say whether a cell with this text, apostrophes before it or none, is more than a text."""
    bare = text.lstrip("'")
    if not bare or bare[0] in FORMULA_SIGNS or bare.lower() in ("true", "false"):
        return True
    try:
        float(bare)
    except ValueError:
        return False
    return True


class JSONDataset(kedro_json.JSONDataset):
    """Dictionaries and lists in a JSON file."""

    def save(self, data: Any) -> None:
        """Write the document."""
        save_whole(self._get_save_path(), json.dumps(data, **self._save_args).encode())

    @or_nothing
    def preview(self) -> JSONPreview:
        """Return the document in the form that kedro-viz shows."""
        return super().preview()
