"""How large a dataset is, as kedro-viz shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractVersionedDataset

from dpok_pipeline.datasets.previews.tables import size_of
from dpok_pipeline.files.shards import Shards


def stored_bytes(dataset: Any) -> int | None:
    """Return the bytes of a dataset's version in use, be it a file or a folder.

    Returns:
        None where the dataset names no path of this machine, or nothing is there.
    """
    try:
        if isinstance(dataset, AbstractVersionedDataset):
            path = dataset._get_load_path()
        else:
            described = dataset._describe()
            path = described.get("filepath") or described.get("path")
        return size_of(Path(path)) if path and Path(path).exists() else None
    except Exception:  # A number to look at must not end a run, whatever somebody's dataset does.
        return None


def shape(data: Any) -> dict[str, int]:
    """Return the rows, and the columns, of what was loaded or saved; nothing if it has none."""
    if isinstance(data, pd.DataFrame):
        return {"rows": len(data), "columns": len(data.columns)}
    if isinstance(data, Shards) and isinstance(data.metadata.get("rows"), int):
        return {"rows": data.metadata["rows"]}
    return {}
