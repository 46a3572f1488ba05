"""Kedro's tables and JSON files, written so that they are either whole or absent.

Kedro's datasets write into the final path. A kill or a full disk would leave a damaged file there,
and the next command would load it as the newest version.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from kedro_datasets import json as kedro_json
from kedro_datasets import pandas as kedro_pandas

from dpok_pipeline.files.durable import save_whole


class ParquetDataset(kedro_pandas.ParquetDataset):
    """A table in a Parquet file."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        save_whole(self._get_save_path(), data.to_parquet(None, **self._save_args))


class CSVDataset(kedro_pandas.CSVDataset):
    """A table in a CSV file."""

    def save(self, data: pd.DataFrame) -> None:
        """Write the table."""
        save_whole(self._get_save_path(), data.to_csv(None, **self._save_args).encode())


class JSONDataset(kedro_json.JSONDataset):
    """Dictionaries and lists in a JSON file."""

    def save(self, data: Any) -> None:
        """Write the document."""
        save_whole(self._get_save_path(), json.dumps(data, **self._save_args).encode())
