from __future__ import annotations

import base64
import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import DataCatalog, Version
from kedro.io.core import DatasetError
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from PIL import Image

from dpok_pipeline.datasets.shards import EndOfShards, ShardedParquetDataset

VERSION = "2026-01-01T00.00.00.000Z"


def dataset(tmp_path: Path, save: str | None = VERSION) -> ShardedParquetDataset:
    return ShardedParquetDataset(
        filepath=(tmp_path / "sft_samples").as_posix(), version=Version(None, save)
    )


def png(value: int) -> dict[str, bytes | None]:
    buffer = BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def shard(start: int, rows: int = 3) -> pd.DataFrame:
    numbers = range(start, start + rows)
    return pd.DataFrame({"index": numbers, "image": [png(number) for number in numbers]})


def test_shards_of_a_generator_node_come_back_in_order(tmp_path: Path) -> None:
    def generate():
        yield shard(0)
        yield shard(3)
        yield EndOfShards({"experiment": "color"})

    catalog = DataCatalog({"samples": dataset(tmp_path)})
    pipeline = Pipeline([Node(generate, None, "samples", name="generate")])
    SequentialRunner().run(pipeline, catalog, hook_manager=_NullPluginManager())
    shards = dataset(tmp_path).load()
    assert len(shards) == 2
    assert list(shards.frame(["index"])["index"]) == list(range(6))
    assert shards.metadata == {"experiment": "color", "rows": 6}


def finished(tmp_path: Path, version: str = VERSION) -> Path:
    written = dataset(tmp_path, version)
    written.save(shard(0))
    written.save(shard(3))
    written.save(EndOfShards())
    return next(tmp_path.rglob(f"{version}/sft_samples"))


def test_a_version_without_its_end_mark_is_not_loaded_and_says_so(tmp_path: Path) -> None:
    dataset(tmp_path).save(shard(0))
    assert not dataset(tmp_path, None).exists()
    with pytest.raises(DatasetError, match=r"sft_samples\.partial: not finished, its marker"):
        dataset(tmp_path, None).load()


def test_a_version_that_lost_its_marker_is_not_loaded_and_says_so(tmp_path: Path) -> None:
    (finished(tmp_path) / "_complete.json").unlink()
    assert not dataset(tmp_path, None).exists()
    with pytest.raises(DatasetError, match=r"sft_samples: not finished, its marker"):
        dataset(tmp_path, None).load()


@pytest.mark.parametrize("state", ["partial", "no marker"])
def test_an_older_finished_version_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    older = finished(tmp_path)
    newer = VERSION.replace("2026", "2027")
    if state == "partial":
        dataset(tmp_path, newer).save(shard(0))
    else:
        (finished(tmp_path, newer) / "_complete.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert dataset(tmp_path, None).load().folder == older
    assert newer in caplog.text
    assert "was not finished and is left out" in caplog.text


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(path.with_name("part-00001.parquet").read_bytes())
    path.with_name("part-00001.parquet").write_bytes(content)


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
    damage(finished(tmp_path) / "part-00000.parquet")
    with pytest.raises(ValueError, match=rf"part-00000\.parquet: .*({said})"):
        dataset(tmp_path, None).load().frame()


def test_a_damaged_marker_is_refused_by_name(tmp_path: Path) -> None:
    (finished(tmp_path) / "_complete.json").write_text("{")
    with pytest.raises(DatasetError, match=r"_complete\.json: cannot be read"):
        dataset(tmp_path, None).load()


def test_images_are_stored_as_hugging_face_stores_them(tmp_path: Path) -> None:
    written = dataset(tmp_path)
    written.save(shard(0))
    written.save(EndOfShards())
    schema = pq.read_schema(next(tmp_path.rglob("*.parquet")))
    assert {field.name for field in schema.field("image").type} == {"bytes", "path"}


def test_the_preview_is_one_picture(tmp_path: Path) -> None:
    written = dataset(tmp_path)
    written.save(shard(0, rows=9))
    written.save(EndOfShards())
    picture = Image.open(BytesIO(base64.b64decode(dataset(tmp_path, None).preview())))
    assert picture.size == (8 * 96, 2 * 96)
