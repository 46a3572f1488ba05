"""Tables, JSON, pages: what is cut short on the way to the disk is no version."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kedro.io import AbstractVersionedDataset, DatasetError, Version

from dpok_pipeline.datasets.pictures import PageDataset
from dpok_pipeline.datasets.whole_files import CSVDataset, JSONDataset, ParquetDataset
from dpok_pipeline.files import durable

FIRST, SECOND = "2026-01-31T12.00.00.000Z", "2026-01-31T13.00.00.000Z"
TABLE = pd.DataFrame({"prompt": ["a cat", "eine Füchsin"], "mean": [0.5, -1.25]})
CONTENTS: dict[type[AbstractVersionedDataset], Any] = {
    ParquetDataset: TABLE,
    CSVDataset: TABLE,
    JSONDataset: {"Run": {"commit": "0123456789ab"}},
    PageDataset: "<html>",
}

kinds = pytest.mark.parametrize("kind", CONTENTS, ids=lambda kind: kind.__name__)


def dataset(kind: Any, folder: Path, save: str) -> Any:
    return kind(filepath=(folder / "kept").as_posix(), version=Version(None, save))


def same(one: Any, other: Any) -> bool:
    return bool(one.equals(other) if isinstance(one, pd.DataFrame) else one == other)


@kinds
def test_what_is_saved_is_loaded_by_its_version(tmp_path: Path, kind: Any) -> None:
    dataset(kind, tmp_path, FIRST).save(CONTENTS[kind])
    reader = dataset(kind, tmp_path, SECOND)
    assert same(reader.load(), CONTENTS[kind])
    assert reader.resolve_load_version() == FIRST
    assert [path.name for path in (tmp_path / "kept" / FIRST).iterdir()] == ["kept"]
    with pytest.raises(DatasetError, match="must not exist"):
        dataset(kind, tmp_path, FIRST).save(CONTENTS[kind])


class Killed(BaseException):
    """Nothing is tidied up after it."""


@kinds
@pytest.mark.parametrize("end", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
def test_a_version_that_was_cut_short_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, end: BaseException
) -> None:
    dataset(kind, tmp_path, FIRST).save(CONTENTS[kind])

    def cut_short(path: Path, content: bytes) -> None:
        path.write_bytes(content[:5])
        raise end

    monkeypatch.setattr(durable, "write_durably", cut_short)
    with pytest.raises((DatasetError, Killed)):
        dataset(kind, tmp_path, SECOND).save(CONTENTS[kind])
    assert not (tmp_path / "kept" / SECOND / "kept").exists()
    reader = dataset(kind, tmp_path, SECOND)
    assert same(reader.load(), CONTENTS[kind])
    assert reader.resolve_load_version() == FIRST


@pytest.mark.parametrize("sign", [*"=+-@\t\r＝", "'=", "''+"])
def test_no_text_of_a_csv_is_a_formula(tmp_path: Path, sign: str) -> None:
    text = f"{sign}HYPERLINK(A1)"
    table = pd.DataFrame(
        {"prompt": ["a cat", text, "it's"], text: [1, -2, 3], "mean": [-0.5, 1, 0]}
    )
    written = dataset(CSVDataset, tmp_path, FIRST)
    written.save(table)
    with (tmp_path / "kept" / FIRST / "kept").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["prompt", f"'{text}", "mean"]
    assert rows == [["a cat", "1", "-0.5"], [f"'{text}", "-2", "1.0"], ["it's", "3", "0.0"]]
    assert written.load().equals(table)
    assert written.preview()["data"][1] == [text, -2, 1.0]


TEXTS = st.one_of(
    st.sampled_from(
        ["NA", "null", "", "'", "5", "'5", "1e5", "inf", "True", "-", "'=", "a,b", '"', "a\rb"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)


@given(st.lists(st.tuples(TEXTS, st.floats(), st.integers(-5, 5), st.booleans()), min_size=1))
def test_a_csv_gives_back_the_table_that_was_saved(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int, bool]]
) -> None:
    table = pd.DataFrame(rows, columns=["prompt", "mean", "images", "holds"])
    written = dataset(CSVDataset, tmp_path_factory.mktemp("csv"), FIRST)
    written.save(table)
    pd.testing.assert_frame_equal(written.load(), table)


def test_tables_and_json_have_previews(tmp_path: Path) -> None:
    for kind in (ParquetDataset, CSVDataset):
        written = dataset(kind, tmp_path / kind.__name__, FIRST)
        written.save(TABLE)
        assert written.preview(nrows=1)["data"] == [["a cat", 0.5]]
    document = dataset(JSONDataset, tmp_path, FIRST)
    document.save(CONTENTS[JSONDataset])
    assert json.loads(document.preview()) == CONTENTS[JSONDataset]
