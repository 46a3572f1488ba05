"""Model files that are not what they were: truncated, empty, swapped, with one bit changed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dpok_pipeline.datasets.models import ModelFolderDataset
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import SUMS, check_sums, write_sums
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
    write_sums(folder)
    describe_base_model(folder)
    DAMAGE[damage](folder / f"{file}.safetensors")
    with pytest.raises(InputError, match=rf"{file}\.safetensors: "):
        describe_base_model(folder)


def test_swapped_weights_of_a_base_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    write_sums(folder)
    name = "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "vae" / name, folder / "unet" / name)
    with pytest.raises(InputError, match=rf"unet/{name}: its sha256"):
        describe_base_model(folder)


@damages
def test_a_damaged_reward(tmp_path: Path, damage: str) -> None:
    tiny_image_reward().save(tmp_path / "reward")
    write_sums(tmp_path / "reward")
    spec = ScorerConfig(kind="image_reward", path=str(tmp_path / "reward"))
    load_scorer(spec)
    DAMAGE[damage](tmp_path / "reward" / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: "):
        load_scorer(spec)


@damages
def test_a_damaged_embedder(tmp_path: Path, damage: str) -> None:
    write_clip(tmp_path / "clip")
    write_sums(tmp_path / "clip")
    dataset = ModelFolderDataset(path=str(tmp_path / "clip"))
    assert dataset.load() == tmp_path / "clip"
    DAMAGE[damage](tmp_path / "clip" / "model.safetensors")
    with pytest.raises(Exception, match=r"model\.safetensors: its sha256"):
        dataset.load()


def test_the_list_is_sha256sums_own(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a b.txt").write_text("one")
    (tmp_path / "c.txt").write_text("two")
    write_sums(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=tmp_path, check=True)
    check_sums(tmp_path)
    (tmp_path / "c.txt").unlink()
    with pytest.raises(InputError, match=r"c\.txt: missing"):
        check_sums(tmp_path)
    (tmp_path / SUMS).write_text("nothing\n")
    with pytest.raises(InputError, match="no line of `sha256sum`"):
        check_sums(tmp_path)


@pytest.mark.parametrize("name", ["base_model", "clip", "image_reward", "aesthetic", "judge"])
def test_the_worlds_networks_are_what_their_list_says(name: str) -> None:
    assert (WORLD / name / SUMS).is_file()
    check_sums(WORLD / name)
