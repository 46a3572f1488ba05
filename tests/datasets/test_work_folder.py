"""A work folder goes when its run has succeeded, unless another command works in it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dpok_pipeline.datasets.work_folder import WorkFolderDataset
from dpok_pipeline.files.locks import claim


def test_a_folder_in_use_is_cleared_by_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = WorkFolderDataset(filepath=str(tmp_path / "color" / "rl"))
    dataset.clear()  # there was none
    checkpoint = dataset.load() / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    with claim(tmp_path / "color" / "rl"), caplog.at_level(logging.WARNING):
        dataset.clear()
    assert checkpoint.is_dir()
    assert "rl is in use by another command" in caplog.text
    dataset.clear()
    assert not list((tmp_path / "color").iterdir())
