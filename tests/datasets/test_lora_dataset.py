from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import Version
from kedro.io.core import DatasetError

from dpok_pipeline.datasets.lora import LoRADataset
from dpok_pipeline.diffusion.lora import WEIGHTS_NAME
from dpok_pipeline.files.manifest import MANIFEST as MARKER


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / WEIGHTS_NAME).write_bytes(b"weights" * 1000)
    (folder / "metadata.json").write_text("{}")
    return folder


def dataset(tmp_path: Path, save: str | None = None, load: str | None = None) -> LoRADataset:
    return LoRADataset(filepath=(tmp_path / "rl_lora").as_posix(), version=Version(load, save))


def test_a_saved_lora_loads_as_a_folder_with_the_same_files(tmp_path: Path, lora: Path) -> None:
    dataset(tmp_path, "2026-01-01T00.00.00.000Z").save(lora)
    loaded = dataset(tmp_path).load()
    assert (loaded / WEIGHTS_NAME).read_bytes() == (lora / WEIGHTS_NAME).read_bytes()


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no LoRA to save"):
        dataset(tmp_path, "2026-01-01T00.00.00.000Z").save(tmp_path / "empty")


def test_an_unfinished_newest_version_is_left_out_and_named(
    tmp_path: Path, lora: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset(tmp_path, "2026-01-01T00.00.00.000Z").save(lora)
    unfinished = tmp_path / "rl_lora" / "2026-02-01T00.00.00.000Z" / "rl_lora.partial"
    unfinished.mkdir(parents=True)
    (unfinished / WEIGHTS_NAME).write_bytes(b"half")
    with caplog.at_level("WARNING", logger="dpok_pipeline"):
        loaded = dataset(tmp_path).load()
    assert loaded.parent.name.startswith("2026-01")
    assert "2026-02-01" in caplog.text
    assert "not finished" in caplog.text


@pytest.mark.parametrize(
    "damage", ["remove marker", "truncate", "change a byte", "remove", "empty", "swap"]
)
def test_a_damaged_version_is_refused_by_name(tmp_path: Path, lora: Path, damage: str) -> None:
    version = "2026-01-01T00.00.00.000Z"
    dataset(tmp_path, version).save(lora)
    folder = tmp_path / "rl_lora" / version / "rl_lora"
    weights = folder / WEIGHTS_NAME
    if damage == "remove marker":
        (folder / MARKER).unlink()
    elif damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "change a byte":
        weights.write_bytes(b"X" + weights.read_bytes()[1:])
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "swap":  # for another whole LoRA of the same shape
        weights.write_bytes(weights.read_bytes()[::-1])
    else:
        weights.unlink()
    with pytest.raises(DatasetError, match=MARKER if damage == "remove marker" else WEIGHTS_NAME):
        dataset(tmp_path, load=version).load()


def test_only_finished_versions_exist(tmp_path: Path, lora: Path) -> None:
    assert not dataset(tmp_path).exists()
    dataset(tmp_path, "2026-01-01T00.00.00.000Z").save(lora)
    assert dataset(tmp_path).exists()
