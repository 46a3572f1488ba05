"""Model files that are not what they were: truncated, empty, swapped, with one bit changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpok_pipeline.datasets.models import ModelFolderDataset
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import (
    CHECKSUMS,
    file_sha256,
    verify_checksums,
    write_checksums,
)
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from tests.rewards.conftest import tiny_image_reward, write_clip

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data" / "01_raw" / "emoji_world"


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 8  # among the weights
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "flipped bit": flip_a_bit,
}
damages = pytest.mark.parametrize("damage", DAMAGE)


@damages
@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_a_damaged_base_model(
    tiny_model_folder: Path, tmp_path: Path, file: str, damage: str
) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    write_checksums(folder)
    describe_base_model(folder)
    DAMAGE[damage](folder / f"{file}.safetensors")
    with pytest.raises(InputError, match=rf"{file}\.safetensors: "):
        describe_base_model(folder)


def test_swapped_weights_of_a_base_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    write_checksums(folder)
    name = "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "vae" / name, folder / "unet" / name)
    with pytest.raises(InputError, match=rf"unet/{name}: its sha256"):
        describe_base_model(folder)


@damages
def test_a_damaged_reward(tmp_path: Path, damage: str) -> None:
    tiny_image_reward().save(tmp_path / "reward")
    write_checksums(tmp_path / "reward")
    spec = ScorerConfig(kind="image_reward", path=str(tmp_path / "reward"))
    load_scorer(spec)
    DAMAGE[damage](tmp_path / "reward" / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: "):
        load_scorer(spec)


@damages
def test_a_damaged_embedder(tmp_path: Path, damage: str) -> None:
    write_clip(tmp_path / "clip")
    write_checksums(tmp_path / "clip")
    dataset = ModelFolderDataset(path=str(tmp_path / "clip"))
    assert dataset.load() == tmp_path / "clip"
    DAMAGE[damage](tmp_path / "clip" / "model.safetensors")
    with pytest.raises(Exception, match=r"model\.safetensors: its sha256"):
        dataset.load()


def test_the_list_is_sha256sums_own(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a b.txt").write_text("one")
    (tmp_path / "c.txt").write_text("two")
    write_checksums(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=tmp_path, check=True)
    verify_checksums(tmp_path)
    (tmp_path / "c.txt").unlink()
    with pytest.raises(InputError, match=r"c\.txt: missing"):
        verify_checksums(tmp_path)
    (tmp_path / CHECKSUMS).write_text("nothing\n")
    with pytest.raises(InputError, match="no line of `sha256sum`"):
        verify_checksums(tmp_path)


@pytest.mark.parametrize("name", ["base_model", "clip", "image_reward", "aesthetic", "judge"])
def test_the_worlds_networks_are_what_their_list_says(name: str) -> None:
    assert (WORLD / name / CHECKSUMS).is_file()
    verify_checksums(WORLD / name)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_old(path: Path) -> None:
    """Let a file's time stamps be those of another day; only the system sets `st_ctime`."""
    os.utime(path, (1e9, 1e9))


@pytest.fixture
def day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file have been written yesterday."""
    real = time.time
    monkeypatch.setattr("dpok_pipeline.files.checksums.time.time", lambda: real() + 86400)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read to be hashed."""
    names: list[str] = []
    real = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        names.append(Path(file.name).name)
        return real(file, name)

    monkeypatch.setattr("dpok_pipeline.files.checksums.hashlib.file_digest", counted)
    return names


@pytest.mark.usefixtures("day_later")
def test_a_file_is_hashed_once(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "a").write_bytes(b"one")
    assert file_sha256(tmp_path / "a") == digest(b"one")
    assert file_sha256(tmp_path / "a") == digest(b"one")
    assert hashed == ["a"]


@pytest.mark.usefixtures("day_later")
@pytest.mark.parametrize("change", ["same size", "same time stamp", "replaced", "gone"])
def test_a_changed_file_is_hashed_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    make_old(path)
    assert file_sha256(path) == digest(b"one")
    time.sleep(0.02)  # longer than the file system's clock takes for a tick
    if change == "gone":
        path.unlink()
        with pytest.raises(FileNotFoundError):
            file_sha256(path)
        return
    if change == "replaced":
        (tmp_path / "b").write_bytes(b"two")
        (tmp_path / "b").replace(path)
    else:
        path.write_bytes(b"two")
    if change != "same size":
        make_old(path)
    assert file_sha256(path) == digest(b"two")


def test_a_file_that_may_still_be_written_is_hashed_anew(tmp_path: Path, hashed: list[str]) -> None:
    for content in (b"one", b"two") * 20:  # faster than the clock ticks
        (tmp_path / "a").write_bytes(content)
        assert file_sha256(tmp_path / "a") == digest(content)
    assert len(hashed) == 40
