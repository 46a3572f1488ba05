from __future__ import annotations

import base64
import logging
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import Version
from kedro.io.core import DatasetError
from PIL import Image

from dpok_pipeline.datasets.shards import ShardedParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import MANIFEST
from dpok_pipeline.files.shards import ShardStore

VERSION = "2026-01-01T00.00.00.000Z"


def dataset(tmp_path: Path, save: str | None = VERSION) -> ShardedParquetDataset:
    return ShardedParquetDataset(
        filepath=(tmp_path / "catalog" / "sft_samples").as_posix(), version=Version(None, save)
    )


def png(value: int) -> dict[str, bytes | None]:
    buffer = BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def shard(rows: range) -> pd.DataFrame:
    return pd.DataFrame({"index": rows, "image": [png(number) for number in rows]})


def drawn(tmp_path: Path, *shards: range, finish: bool = True) -> Path:
    """A work folder with these shards."""
    store = ShardStore(tmp_path / "work", {"seed": 1})
    for number, rows in enumerate(shards):
        store.write(number, rows, shard(rows))
    return store.finish({"experiment": "color"}) if finish else tmp_path / "work"


def saved(tmp_path: Path, version: str = VERSION) -> Path:
    dataset(tmp_path, version).save(drawn(tmp_path, range(3), range(3, 6)))
    return next(tmp_path.rglob(f"{version}/sft_samples"))


def test_shards_come_back_in_order_with_what_is_known_of_them(tmp_path: Path) -> None:
    saved(tmp_path)
    shards = dataset(tmp_path, None).load()
    assert len(shards) == 2
    assert list(shards.frame(["index"])["index"]) == list(range(6))
    assert shards.metadata == {"experiment": "color", "rows": 6}


def test_images_are_written_once_and_outlive_the_work_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    for path in folder.glob("*.parquet"):
        assert path.stat().st_ino == (tmp_path / "work" / path.name).stat().st_ino
    shutil.rmtree(tmp_path / "work")
    assert len(dataset(tmp_path, None).load().frame()) == 6


def test_unfinished_shards_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises((InputError, DatasetError), match="not finished"):
        dataset(tmp_path).save(drawn(tmp_path, range(3), finish=False))
    assert not dataset(tmp_path, None).exists()


def test_a_version_that_lost_its_manifest_is_not_loaded_and_says_so(tmp_path: Path) -> None:
    (saved(tmp_path) / MANIFEST).unlink()
    assert not dataset(tmp_path, None).exists()
    with pytest.raises(DatasetError, match=r"sft_samples: not finished, its manifest"):
        dataset(tmp_path, None).load()


@pytest.mark.parametrize("state", ["partial", "no manifest", "damaged manifest"])
def test_an_older_finished_version_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    older = saved(tmp_path)
    newer = saved(tmp_path, VERSION.replace("2026", "2027"))
    (newer / MANIFEST).unlink()
    if state == "damaged manifest":
        (newer / MANIFEST).write_text("{")
    if state == "partial":
        newer.rename(newer.with_name("sft_samples.partial"))
    with caplog.at_level(logging.WARNING):
        assert dataset(tmp_path, None).load().folder == older
    assert newer.parent.name in caplog.text
    assert "was not finished and is left out" in caplog.text


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(path.with_name("shard-00001.parquet").read_bytes())
    path.with_name("shard-00001.parquet").write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, "its contents differ"),
        (lambda path: path.write_bytes(b""), "0 bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.unlink(), "missing"),
        (swap, "its contents differ|bytes instead of"),
    ],
    ids=["flipped bit", "zero bytes", "truncated", "missing", "swapped"],
)
def test_a_damaged_shard_is_refused_by_name(tmp_path: Path, damage: Any, said: str) -> None:
    damage(saved(tmp_path) / "shard-00000.parquet")
    with pytest.raises(ValueError, match=rf"shard-00000\.parquet: .*({said})"):
        dataset(tmp_path, None).load().frame()


def test_a_damaged_manifest_is_refused_by_name(tmp_path: Path) -> None:
    (saved(tmp_path) / MANIFEST).write_text("{")
    with pytest.raises(DatasetError, match=rf"{MANIFEST}: cannot be read"):
        dataset(tmp_path, None).load()


def test_images_are_stored_as_hugging_face_stores_them(tmp_path: Path) -> None:
    schema = pq.read_schema(next(saved(tmp_path).glob("*.parquet")))
    assert {field.name for field in schema.field("image").type} == {"bytes", "path"}


def test_the_preview_reads_a_few_images_of_a_few_shards(tmp_path: Path) -> None:
    ranges = [range(start, start + 9) for start in range(0, 45, 9)]
    dataset(tmp_path).save(drawn(tmp_path, *ranges))
    opened = dataset(tmp_path, None)
    shown = [list(rows["index"]) for rows in opened.load().glance(4, 6)]
    assert shown == [[first, *range(first + 1, first + 6)] for first in (0, 9, 18, 27)]
    picture = Image.open(BytesIO(base64.b64decode(opened.preview())))
    assert picture.width == pytest.approx(6 * 150, rel=0.1)
    assert picture.height == pytest.approx(4 * 150, rel=0.1)


def test_shards_that_are_not_there_have_no_preview(tmp_path: Path) -> None:
    assert dataset(tmp_path, None).preview() is None
    (saved(tmp_path) / MANIFEST).unlink()
    assert dataset(tmp_path, None).preview() is None
