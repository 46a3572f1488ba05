"""A table too large for memory: Parquet shards, written as they are made."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import (
    check_file,
    partial_path,
    read_marker,
    seal,
)

PREVIEW_IMAGES = 24
PREVIEW_COLUMNS = 8
PREVIEW_PIXELS = 96


@dataclass(frozen=True)
class EndOfShards:
    """What a generator node yields last: the version is complete.

    Attributes:
        metadata: Kept in the completion marker.
    """

    metadata: dict[str, Any] = field(default_factory=dict)


class Shards:
    """The finished shards of one version, read one at a time.

    Attributes:
        folder: Where they are; Hugging Face `datasets` opens it as `parquet`.
        metadata: What the completion marker says of them, `rows` among it.
    """

    def __init__(self, folder: Path) -> None:
        marker = read_marker(folder)
        self.folder = folder
        self.metadata: dict[str, Any] = marker["metadata"]
        self._files: dict[str, dict[str, Any]] = marker["files"]

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return self.read()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the shards in order, each compared with its hash first.

        Args:
            columns: Only these; all if None.
        """
        for name, expected in self._files.items():
            path = check_file(self.folder, name, expected)
            yield pd.read_parquet(path, columns=None if columns is None else list(columns))

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Join all shards: for the columns that fit in memory."""
        return pd.concat(self.read(columns), ignore_index=True)


class ShardedParquetDataset(SealedFolderDataset["pd.DataFrame | EndOfShards", Shards]):
    """Shards of a table, saved by a generator node and loadable once all are there.

    The node yields frames, each of which becomes a file at once, and at last `EndOfShards`.
    Until then the version is a folder named `….partial`, which is never loaded.

    A column `image` in Hugging Face's form (a struct of `bytes` and `path`) gets a contact
    sheet as its preview in kedro-viz.
    """

    def save(self, data: pd.DataFrame | EndOfShards) -> None:
        """Write one shard, or close the version."""
        final = self._begin()
        partial = partial_path(final)
        if isinstance(data, pd.DataFrame):
            number = len(list(partial.glob("*.parquet")))
            path = partial / f"part-{number:05d}.parquet"
            data.to_parquet(path.with_suffix(".tmp"), index=False)
            path.with_suffix(".tmp").rename(path)
            self._rows += len(data)
            return
        seal(partial, final, {**data.metadata, "rows": self._rows})
        self._writing = None

    def _begin(self) -> Path:
        """Open the version at its first shard; go on with it afterwards."""
        if self._writing is None:
            final = Path(self._get_save_path())
            shutil.rmtree(partial_path(final), ignore_errors=True)
            partial_path(final).mkdir(parents=True)
            self._rows = 0
            self._writing = final.as_posix()
        return Path(self._writing)

    def load(self) -> Shards:
        """Open the newest finished version."""
        return Shards(self._finished_folder())

    def preview(self) -> Any:
        """Show the first images as one picture, for kedro-viz."""
        from kedro_datasets._typing import ImagePreview
        from PIL import Image

        frame = next(self.load().read(["image"]), None)
        if frame is None:
            raise InputError(f"{self._filepath}: no images to preview")
        tiles = [
            Image.open(BytesIO(image["bytes"])).convert("RGB")
            for image in frame["image"].head(PREVIEW_IMAGES)
        ]
        side = PREVIEW_PIXELS
        rows = -(-len(tiles) // PREVIEW_COLUMNS)
        sheet = Image.new("RGB", (side * PREVIEW_COLUMNS, side * rows), "white")
        for number, tile in enumerate(tiles):
            place = (number % PREVIEW_COLUMNS * side, number // PREVIEW_COLUMNS * side)
            sheet.paste(tile.resize((side, side)), place)
        buffer = BytesIO()
        sheet.save(buffer, "PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
