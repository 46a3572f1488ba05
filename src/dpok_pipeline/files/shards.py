"""Shards of an unfinished generation: each is whole, proven by its hash, or made again."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.files.durable import describe_bytes, replace_durably
from dpok_pipeline.files.fingerprint import check_same, fingerprint
from dpok_pipeline.training.config import Resume

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

MADE_BY = "made_by.json"


class ShardStore:
    """`shard-00000.parquet` and so on; beside each a JSON file, written after it.

    The JSON file says which rows the shard holds, its size, its sha256 and what made it. A shard
    without one, or that differs from it in any bit, is made again: its images depend on seed
    and index alone, so nothing is lost but time.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], resume: Resume = "auto") -> None:
        """Open or make the folder.

        Args:
            folder: of this run alone.
            made_by: all that decides the images, by the names a user knows it by.
            resume: `never` removes what is there.

        Raises:
            InputError: the shards that are there were made with other inputs.
        """
        self.folder, self.fingerprint = folder, fingerprint(made_by)
        if resume == "never":
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        saved = _read_json(folder / MADE_BY)
        if saved is not None:
            check_same(saved, made_by, folder)
        replace_durably(folder / MADE_BY, json.dumps(dict(made_by)).encode())

    def read(self, number: int, indices: range) -> pd.DataFrame | None:
        """A shard that is whole; None, with a warning, where it is damaged, or not there."""
        import pandas as pd

        path = self._path(number)
        if not path.is_file():
            return None
        content = path.read_bytes()
        if _read_json(path.with_suffix(".json")) == self._description(content, indices):
            return pd.read_parquet(io.BytesIO(content))
        logger.warning("%s: unfinished or damaged, making it again", path)
        return None

    def write(self, number: int, frame: pd.DataFrame) -> None:
        """Store a shard; it counts once its description is there, too.

        Raises:
            OSError: the disk is full; the shards before are as they were.
        """
        content: bytes = frame.to_parquet(index=False)
        indices = range(int(frame["index"].iloc[0]), int(frame["index"].iloc[-1]) + 1)
        path = self._path(number)
        path.with_suffix(".json").unlink(missing_ok=True)
        replace_durably(path, content)
        description = json.dumps(self._description(content, indices)).encode()
        replace_durably(path.with_suffix(".json"), description)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.parquet"

    def _description(self, content: bytes, indices: range) -> dict[str, Any]:
        rows = {"first": indices.start, "rows": len(indices)}
        return {**rows, **describe_bytes(content), "fingerprint": self.fingerprint}


def _read_json(path: Path) -> dict[str, Any] | None:
    """None where the file is missing or cut short."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document
