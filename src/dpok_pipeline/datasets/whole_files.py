"""Kedro's tables and JSON files, whole or not there.

Kedro's own datasets write into the final path. What a kill or a full disk leaves there is then the
newest version, which the next command loads.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from kedro_datasets import json as kedro_json
from kedro_datasets import pandas as kedro_pandas

from dpok_pipeline.files.durable import replace_durably


def save_whole(path: PurePosixPath, content: bytes) -> None:
    """Write a version's file aside, flush it, and give it its real name."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(final, content)


class ParquetDataset(kedro_pandas.ParquetDataset):
    """A table as Parquet."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        save_whole(self._get_save_path(), data.to_parquet(None, **self._save_args))


class CSVDataset(kedro_pandas.CSVDataset):
    """A table as CSV."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        save_whole(self._get_save_path(), data.to_csv(None, **self._save_args).encode())


class JSONDataset(kedro_json.JSONDataset):
    """Dictionaries and lists."""

    def save(self, data: Any) -> None:
        """Write the document."""
        save_whole(self._get_save_path(), json.dumps(data, **self._save_args).encode())
