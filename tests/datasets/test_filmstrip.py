"""A filmstrip in the catalog: a table that need not be there, and its preview."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pandas as pd
from kedro.io import Version
from PIL import Image

from dpok_pipeline.datasets.pictures import FilmstripDataset
from dpok_pipeline.report.pictures.strips import draw_strip
from tests.report.pictures.test_strips import filmstrip


def dataset(folder: Path, load: str | None = None) -> FilmstripDataset:
    version = Version(load, "2026-01-31T12.00.00.000Z")
    return FilmstripDataset(filepath=(folder / "filmstrip.parquet").as_posix(), version=version)


def test_what_is_saved_is_loaded_and_previewed(tmp_path: Path) -> None:
    dataset(tmp_path).save(filmstrip())
    loaded = dataset(tmp_path).load()
    assert loaded is not None
    pd.testing.assert_frame_equal(loaded, filmstrip())
    preview = Image.open(BytesIO(base64.b64decode(dataset(tmp_path).preview())))
    assert preview.height == draw_strip(filmstrip()).height


def test_a_lora_from_before_there_were_filmstrips_has_none(tmp_path: Path) -> None:
    assert dataset(tmp_path).load() is None
    assert dataset(tmp_path, load="2026-01-30T12.00.00.000Z").load() is None
    assert dataset(tmp_path).preview() is None
