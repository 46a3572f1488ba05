from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files import shards as shards_module
from dpok_pipeline.files.manifest import MANIFEST, check_folder, link_sealed
from dpok_pipeline.files.shards import Shards, ShardStore
from tests.files.damage import DAMAGE, flip_a_bit
from tests.files.killed import run_killed

RECIPE: dict[str, Any] = {"seed": 0, "prompts": ["A cat.", "A dog."], "base_model": "a" * 64}
ROWS = (range(3), range(3, 6), range(6, 7))
METADATA = {"recipe": {"mine": 1}, "method": "dpok"}


def frame(rows: range) -> pd.DataFrame:
    """What depends on the index alone, as drawn images do."""
    latents = [np.full(4, index, np.float32) for index in rows]
    return pd.DataFrame({"index": list(rows), "latent": latents, "name": "cat"})


def fill(folder: Path, resume: Any = "auto", recipe: dict[str, Any] = RECIPE) -> list[int]:
    """Make what is missing and finish; the numbers of the shards that were made."""
    store = ShardStore(folder, recipe, resume)
    made = [number for number, rows in enumerate(ROWS) if not store.holds(number, rows)]
    for number in made:
        store.write(number, ROWS[number], frame(ROWS[number]))
    assert store.finish(METADATA) == folder
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    assert fill(tmp_path) == [0, 1, 2]
    shards = Shards(tmp_path)
    assert len(shards) == 3
    assert [len(part) for part in shards] == [3, 3, 1]
    assert shards.metadata == {**METADATA, "rows": 7}
    table = shards.frame()
    assert table["index"].tolist() == list(range(7))
    assert table["latent"][6].dtype == np.float32
    assert list(shards.frame(["index"]).columns) == ["index"]
    check_folder(tmp_path)


def test_whole_shards_are_not_made_again(tmp_path: Path) -> None:
    store = ShardStore(tmp_path, RECIPE)
    store.write(0, ROWS[0], frame(ROWS[0]))
    assert store.holds(0, ROWS[0])
    assert not store.holds(1, ROWS[1])
    with pytest.raises(InputError, match="not finished"):
        Shards(tmp_path)
    assert fill(tmp_path) == [1, 2]
    before = contents(tmp_path)
    assert fill(tmp_path) == []
    assert contents(tmp_path) == before


def test_in_parts_or_at_once_gives_the_same_bytes(tmp_path: Path) -> None:
    for number in (2, 0):
        ShardStore(tmp_path / "parts", RECIPE).write(number, ROWS[number], frame(ROWS[number]))
    assert fill(tmp_path / "parts") == [1]
    fill(tmp_path / "whole")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_never_begins_anew(tmp_path: Path) -> None:
    fill(tmp_path)
    assert fill(tmp_path, "never", {**RECIPE, "seed": 1}) == [0, 1, 2]


def test_another_recipe_is_refused_by_name_whether_finished_or_not(tmp_path: Path) -> None:
    for folder, finished in ((tmp_path / "a", True), (tmp_path / "b", False)):
        fill(folder) if finished else ShardStore(folder, RECIPE)
        before = contents(folder)
        with pytest.raises(InputError, match=r"seed was 0 and is 1; give .*resume=never"):
            ShardStore(folder, {**RECIPE, "seed": 1})
        assert contents(folder) == before


def test_other_rows_under_the_same_number_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    assert not ShardStore(tmp_path, RECIPE).holds(0, range(2))
    assert "shard-00000.parquet: unfinished or damaged" in caplog.text


def test_a_frame_of_another_length_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard 0 has 3 rows instead of 4"):
        ShardStore(tmp_path, RECIPE).write(0, range(4), frame(range(3)))


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "missing"])
def test_a_damaged_shard_is_named_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, finished: bool
) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    if not finished:
        store = ShardStore(tmp_path, RECIPE)
        store.write(2, ROWS[2], frame(ROWS[2]))
    DAMAGE[damage](tmp_path / "shard-00000.parquet")
    with caplog.at_level(logging.WARNING):
        assert fill(tmp_path) == [0]
    assert "shard-00000.parquet: unfinished or damaged" in caplog.text
    assert "shard-00002" not in caplog.text
    assert contents(tmp_path) == before


def test_a_missing_shard_is_made_again(tmp_path: Path) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "shard-00001.parquet").unlink()
    assert fill(tmp_path) == [1]
    assert contents(tmp_path) == before


def test_swapped_shards_are_both_made_again(tmp_path: Path) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "shard-00000.parquet").write_bytes(before["shard-00001.parquet"])
    (tmp_path / "shard-00001.parquet").write_bytes(before["shard-00000.parquet"])
    assert fill(tmp_path) == [0, 1]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", ["truncated", "zero bytes", "missing", "no progress"])
def test_a_damaged_manifest_costs_time_alone(tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    if damage == "no progress":
        (tmp_path / MANIFEST).write_text('{"complete": false, "metadata": {}, "files": {}}')
    else:
        DAMAGE[damage](tmp_path / MANIFEST)
    assert fill(tmp_path) == [0, 1, 2]
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_the_shards_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shards_module.replace_durably

    def full(path: Path, content: bytes) -> None:
        if path.name == "shard-00001.parquet":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "replace_durably", full)
        with pytest.raises(OSError, match="No space"):
            fill(tmp_path)
    assert fill(tmp_path) == [1, 2]


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.files import shards
from tests.files.test_shards import fill

def killed(folder, manifest, real=shards.write_manifest):
    if "shard-00001.parquet" in manifest.files:  # the shard is there, its entry is not
        os.kill(os.getpid(), signal.SIGKILL)
    real(folder, manifest)

shards.write_manifest = killed
fill(Path(sys.argv[1]))
"""


def test_a_killed_process_redoes_one_shard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_killed(KILLED, tmp_path / "parts")
    assert (tmp_path / "parts" / "shard-00001.parquet").is_file()
    assert fill(tmp_path / "parts") == [1, 2]
    assert "shard-00001.parquet: unfinished or damaged" in caplog.text
    fill(tmp_path / "whole")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_only_shards_of_this_table_are_in_the_finished_folder(tmp_path: Path) -> None:
    fill(tmp_path)
    store = ShardStore(tmp_path, RECIPE)
    assert store.holds(0, ROWS[0])
    store.finish({})
    assert Shards(tmp_path).frame()["index"].tolist() == [0, 1, 2]
    assert Shards(tmp_path).metadata == {"rows": 3}


def test_the_reader_refuses_a_damaged_shard_by_name(tmp_path: Path) -> None:
    fill(tmp_path)
    flip_a_bit(tmp_path / "shard-00001.parquet")
    read = Shards(tmp_path).read(["index"])
    assert len(next(read)) == 3
    with pytest.raises(InputError, match=r"shard-00001\.parquet: its contents differ"):
        next(read)


def test_a_finished_folder_is_linked_into_the_catalog_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "work")
    shards = Shards(tmp_path / "work")
    link_sealed(shards.folder, tmp_path / "final", shards.metadata)
    linked = Shards(tmp_path / "final")
    assert linked.metadata == shards.metadata
    assert "seed" not in json.loads((tmp_path / "final" / MANIFEST).read_text())["metadata"]
    pd.testing.assert_frame_equal(linked.frame(), shards.frame())
    # The work folder may go on; what is in the catalog stays as it is.
    ShardStore(tmp_path / "work", {**RECIPE, "seed": 1}, "never")
    check_folder(tmp_path / "final")
