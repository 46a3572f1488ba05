"""Tables too large for memory, as Parquet shards in one folder.

`ShardStore` writes them: whole shards of an interrupted run are found again, others are made again.
`Shards` reads them once all are there. In between nothing is copied: the files that a store has
finished are the ones that the catalog links to.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import FileEntry, describe_bytes, replace_durably
from dpok_pipeline.files.fingerprint import check_same
from dpok_pipeline.files.manifest import (
    MANIFEST,
    Manifest,
    check_file,
    read_manifest,
    write_manifest,
)

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

# Where the store keeps, in its manifest's metadata, what it needs to go on: the recipe, and the
# first row and the row after the last one of each shard.
_PROGRESS = "shards"


class ShardStore:
    """The shards `shard-00000.parquet`, `shard-00001.parquet` … of one run.

    A shard counts once the folder's manifest lists its size, its sha256 and its rows. A shard that
    is not listed, or that differs from its entry in any bit, is made again: its rows depend on seed
    and index alone, so nothing is lost but time.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        resume: Literal["auto", "never"] = "auto",
    ) -> None:
        """Open the folder, or make it.

        Args:
            folder: The folder of this run alone.
            recipe: Everything that decides the rows, by the names that a user knows it by.
            resume: With `auto` the store goes on from what is there; `never` removes it.

        Raises:
            InputError: The shards that are there were made by another recipe.
        """
        self.folder, self._recipe = folder, dict(recipe)
        self._files: dict[str, FileEntry] = {}
        self._rows: dict[str, list[int]] = {}
        # The shards that this process has written or found whole.
        self._whole: set[str] = set()
        if resume == "never":
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / MANIFEST).is_file():
            self._restore()
        else:
            self._write_manifest()

    def holds(self, number: int, rows: range) -> bool:
        """Return whether a shard is there, whole and with these rows.

        A shard that is there but damaged is named in a warning.

        Args:
            number: Its place in the table, from 0.
            rows: The indices of its rows.
        """
        name = _shard_name(number)
        path = self.folder / name
        if name not in self._files and not path.is_file():
            return False
        try:
            if self._rows.get(name) != [rows.start, rows.stop]:
                raise InputError(f"{path}: the manifest does not list these rows")
            check_file(self.folder, name, self._files[name])
        except InputError:
            logger.warning("%s: unfinished or damaged, making it again", path)
            return False
        self._whole.add(name)
        return True

    def write(self, number: int, rows: range, frame: pd.DataFrame) -> None:
        """Store a shard, in the place of the one that may be there.

        Args:
            number: Its place in the table, from 0.
            rows: The indices of its rows.
            frame: One row for each index.

        Raises:
            ValueError: The frame has another number of rows.
            OSError: The disk is full. The shards before are as they were.
        """
        if len(frame) != len(rows):
            raise ValueError(f"shard {number} has {len(frame)} rows instead of {len(rows)}")
        name = _shard_name(number)
        content: bytes = frame.to_parquet(index=False)
        # The shard first: a process that is killed in between leaves one that is not listed.
        replace_durably(self.folder / name, content)
        self._files[name] = describe_bytes(content)
        self._rows[name] = [rows.start, rows.stop]
        self._whole.add(name)
        self._write_manifest()

    def finish(self, metadata: Mapping[str, Any]) -> Path:
        """Mark the folder complete: it consists of the shards written or found whole since opening.

        Args:
            metadata: What a reader may want to know of the table; the number of all `rows` is
                added to it.

        Returns:
            The folder, which `Shards` opens.
        """
        self._files = {name: entry for name, entry in self._files.items() if name in self._whole}
        self._rows = {name: rows for name, rows in self._rows.items() if name in self._whole}
        total = sum(stop - start for start, stop in self._rows.values())
        self._write_manifest({**metadata, "rows": total}, complete=True)
        return self.folder

    def _restore(self) -> None:
        """Read what an earlier process has written, and compare its recipe with the present one."""
        try:
            manifest = read_manifest(self.folder, unfinished=True)
            progress = manifest.metadata[_PROGRESS]
            recipe, rows = dict(progress["recipe"]), dict(progress["rows"])
        except (InputError, KeyError, TypeError, ValueError):
            logger.warning("%s: unfinished or damaged, making all shards again", self.folder)
            self._write_manifest()
            return
        check_same(recipe, self._recipe, self.folder)
        self._files, self._rows = dict(manifest.files), rows

    def _write_manifest(
        self, metadata: Mapping[str, Any] | None = None, *, complete: bool = False
    ) -> None:
        progress = {"recipe": self._recipe, "rows": dict(sorted(self._rows.items()))}
        document = {**(metadata or {}), _PROGRESS: progress}
        write_manifest(self.folder, Manifest(document, self._files, complete))


class Shards:
    """The finished shards of one table, read one at a time.

    Attributes:
        folder: Where they are; Hugging Face `datasets` opens it as `parquet`.
        metadata: What the manifest says of them, the number of `rows` among it.
        recipe: Everything that decides the rows, as the store was told; empty for shards of
            another origin.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder.

        Raises:
            InputError: The folder is unfinished, or its manifest cannot be read.
        """
        manifest = read_manifest(folder)
        self.folder = folder
        self.metadata = {
            name: value for name, value in manifest.metadata.items() if name != _PROGRESS
        }
        progress = manifest.metadata.get(_PROGRESS)
        self.recipe = dict(progress.get("recipe", {})) if isinstance(progress, dict) else {}
        self._files = manifest.files

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return self.read()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the shards in order, each compared with its hash first.

        Args:
            columns: The columns to read; None means all of them.

        Raises:
            InputError: A shard is missing or differs from its hash.
        """
        import pandas as pd

        for name, expected in self._files.items():
            path = check_file(self.folder, name, expected)
            yield pd.read_parquet(path, columns=None if columns is None else list(columns))

    def glance(self, shards: int, rows: int) -> Iterator[pd.DataFrame]:
        """Yield the first rows of some shards, spread over the table, for people to look at.

        Nothing else is read: no other row, no latent, and no hash is compared.

        Args:
            shards: Number of shards at most.
            rows: Number of rows of each at most.
        """
        import pyarrow.parquet as pq

        names = sorted(self._files)
        count = min(shards, len(names))
        for name in (names[number * len(names) // count] for number in range(count)):
            with pq.ParquetFile(self.folder / name) as file:
                columns = [column for column in file.schema_arrow.names if column != "latent"]
                batches = file.iter_batches(rows, columns=columns)
                yield from (batch.to_pandas() for batch in islice(batches, 1))

    def frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Join all shards into one table, for columns that fit in memory.

        Args:
            columns: The columns to read; None means all of them.

        Raises:
            InputError: A shard is missing or differs from its hash.
        """
        import pandas as pd

        return pd.concat(self.read(columns), ignore_index=True)


def _shard_name(number: int) -> str:
    return f"shard-{number:05d}.parquet"
