"""What an experiment contributes to joint reports: there or not, and known to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from kedro.io import DataCatalog, Version
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from dpok_pipeline.datasets.report_parts import ReportParts, ReportPartsDataset
from dpok_pipeline.files.manifest import read_manifest, write_manifest
from dpok_pipeline.hooks.preconditions import PreconditionHooks
from tests.report.pictures.test_strips import filmstrip

PARTS = ReportParts(
    experiment="color",
    scores=pd.DataFrame({"image_reward": [0.5, -0.25]}),
    embeddings=pd.DataFrame({"d0": [1.0, 0.0]}),
    curves={"rl": pd.DataFrame({"reward/mean": [0.5]})},
    pictures=pd.DataFrame({"method": ["rl"], "prompt_id": ["a"], "index": [3], "webp": [b"RIFF"]}),
    provenance={"Run": {"commit": "0123456789ab"}},
    filmstrips={"rl": filmstrip()},
)


def dataset(folder: Path) -> ReportPartsDataset:
    version = Version(None, "2026-01-31T12.00.00.000Z")
    return ReportPartsDataset(filepath=(folder / "report_parts").as_posix(), version=version)


def gather() -> ReportParts:
    return PARTS


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    dataset(tmp_path).save(PARTS)
    loaded = dataset(tmp_path).load()
    assert loaded is not None
    pd.testing.assert_frame_equal(loaded.scores, PARTS.scores)
    assert loaded.provenance == PARTS.provenance
    pd.testing.assert_frame_equal(loaded.filmstrips["rl"], filmstrip())
    pd.testing.assert_frame_equal(loaded.pictures, PARTS.pictures)


def test_parts_of_an_earlier_release_have_no_pictures(tmp_path: Path) -> None:
    dataset(tmp_path).save(PARTS)
    (folder,) = tmp_path.glob("report_parts/*/report_parts")
    manifest = read_manifest(folder)
    (folder / "pictures.parquet").unlink()
    rest = {name: entry for name, entry in manifest.files.items() if name != "pictures.parquet"}
    write_manifest(folder, replace(manifest, files=rest))
    loaded = dataset(tmp_path).load()
    assert loaded is not None
    assert loaded.pictures.empty
    assert len(loaded.scores) == 2


def test_absent_parts_stop_no_run_but_are_made_by_one_for_missing_outputs(tmp_path: Path) -> None:
    parts = dataset(tmp_path)
    catalog = DataCatalog({"parts": parts})
    assert parts.load() is None
    assert not parts.exists()
    reader = Pipeline([Node(lambda found: None, "parts", None, name="read_node")])
    PreconditionHooks().before_pipeline_run({"env": None}, reader, catalog)
    maker = Pipeline([Node(gather, None, "parts", name="gather_node")])
    SequentialRunner().run(maker, catalog, only_missing_outputs=True)
    assert parts.exists()
