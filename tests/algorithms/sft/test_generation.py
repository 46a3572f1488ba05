from __future__ import annotations

import io
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dpok_pipeline.algorithms.sft import generation
from dpok_pipeline.algorithms.sft.generation import generate_samples
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.training.config import GenerationConfig, Resume
from dpok_pipeline.training.signals import Stopped
from tests.algorithms.support import SAMPLING, Brightness
from tests.files.damage import flip_a_bit
from tests.files.killed import run_killed

PROMPTS = [("cat", "A cat."), ("dog", "A dog on the moon.")]


def shards(
    model: DiffusionModel, work_dir: Path, resume: Resume = "auto", **changes: Any
) -> list[pd.DataFrame]:
    config = GenerationConfig(**{"images": 7, "shard_size": 3, "batch_size": 2, **changes})
    folder = generate_samples(
        model,
        PROMPTS,
        Brightness(),
        sampling=SAMPLING,
        config=config,
        work_dir=work_dir,
        resume=resume,
        metadata={"experiment": "color"},
    )
    assert folder == work_dir
    return list(Shards(folder))


def files(work_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(work_dir.iterdir())}


def test_shards_hold_images_that_can_be_made_again(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    frames = shards(tiny_model, tmp_path)
    assert [len(frame) for frame in frames] == [3, 3, 1]
    table = pd.concat(frames, ignore_index=True)
    assert table["index"].tolist() == list(range(7))
    assert table["prompt_id"].tolist() == ["cat", "dog"] * 3 + ["cat"]
    row = table.iloc[4]
    latents = sample(tiny_model, [row.prompt], SAMPLING, seed=row.seed, indices=[row["index"]])
    stored = SFTSamples.from_frame(table).latents[4:5]
    torch.testing.assert_close(stored, latents.latents, rtol=1e-4, atol=1e-4)
    pixels = np.asarray(Image.open(io.BytesIO(row.image["bytes"])))
    expected = decode(tiny_model, stored)[0].permute(1, 2, 0).numpy()
    assert np.abs(pixels / 255 - expected).max() < 0.003
    reward = Brightness().score(decode(tiny_model, stored), [row.prompt])
    assert row.reward == pytest.approx(reward.item(), abs=1e-3)


@pytest.mark.parametrize(("images", "lengths"), [(1, [1]), (5, [5])])
def test_a_shard_may_be_larger_than_the_set(
    tiny_model: DiffusionModel, tmp_path: Path, images: int, lengths: list[int]
) -> None:
    frames = shards(tiny_model, tmp_path, images=images, shard_size=1000, batch_size=64)
    assert [len(frame) for frame in frames] == lengths


def test_parquet_keeps_every_type(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    read, *_ = shards(tiny_model, tmp_path)
    assert read["latent"][0].dtype == np.float32
    assert read["reward"].dtype == np.float32
    assert list(read["latent_shape"][0]) == [4, 8, 8]
    assert set(read["image"][0]) == {"bytes", "path"}


def test_finished_shards_are_not_made_again(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pd.concat(shards(tiny_model, tmp_path / "whole"))
    original = generation._make_shard
    made = []

    def counted(*arguments: Any) -> pd.DataFrame:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(generation, "_make_shard", counted)
    with pytest.raises(KeyboardInterrupt):
        shards(tiny_model, tmp_path / "parts")
    assert made == [range(3), range(3, 6)]
    made.clear()
    parts = pd.concat(shards(tiny_model, tmp_path / "parts"))
    assert made == [range(6, 7)]
    for name in ("index", "reward"):
        assert parts[name].tolist() == whole[name].tolist()
    assert all(map(np.array_equal, parts["latent"], whole["latent"]))


def test_other_parameters_are_refused_by_name(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    first = shards(tiny_model, tmp_path)
    before = files(tmp_path)
    with pytest.raises(InputError, match=r"sample_generation\.seed was 0 and is 1.*resume=never"):
        shards(tiny_model, tmp_path, seed=1)
    assert files(tmp_path) == before
    second = shards(tiny_model, tmp_path, "never", seed=1)
    assert not np.array_equal(first[0]["latent"][0], second[0]["latent"][0])
    assert len(list(tmp_path.glob("shard-*.parquet"))) == 3


def test_a_damaged_shard_is_named_and_made_again(
    tiny_model: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards(tiny_model, tmp_path)
    before = files(tmp_path)
    flip_a_bit(tmp_path / "shard-00000.parquet")
    with caplog.at_level(logging.WARNING):
        shards(tiny_model, tmp_path)
    assert "shard-00000.parquet: unfinished or damaged" in caplog.text
    assert "shard-00002" not in caplog.text
    assert files(tmp_path) == before


def test_another_batch_size_moves_pixels_by_rounding_only(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    def tables(batch_size: int) -> pd.DataFrame:
        made = shards(tiny_model, tmp_path / str(batch_size), batch_size=batch_size)
        return pd.concat(made, ignore_index=True)

    one, other = tables(1), tables(3)
    latents = [np.stack(table["latent"].tolist()) for table in (one, other)]
    # float32: far below the 1/255 that a pixel can show.
    assert np.abs(latents[0] - latents[1]).max() < 1e-4
    for left, right in zip(one["image"], other["image"], strict=True):
        pixels = [
            np.asarray(Image.open(io.BytesIO(image["bytes"])), int) for image in (left, right)
        ]
        assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_a_signal_ends_generation_after_its_shard(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = generation._make_shard

    def signalled(*arguments: Any) -> pd.DataFrame:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "_make_shard", signalled)
        with pytest.raises(Stopped):
            shards(tiny_model, tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("shard-*.parquet"))) == 1
    shards(tiny_model, tmp_path / "parts")
    shards(tiny_model, tmp_path / "whole")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.files import shards as shard_store
from tests.algorithms.sft.test_generation import shards

def killed(folder, manifest, real=shard_store.write_manifest):
    if "shard-00001.parquet" in manifest.files:  # between a shard and its entry
        os.kill(os.getpid(), signal.SIGKILL)
    real(folder, manifest)

shard_store.write_manifest = killed
shards(load_base_model(describe_base_model(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.stress
def test_a_killed_process_redoes_one_shard(
    tiny_model: DiffusionModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    run_killed(KILLED, tiny_model_folder, tmp_path / "parts")
    first = (tmp_path / "parts" / "shard-00000.parquet").stat()
    shards(tiny_model, tmp_path / "parts")
    shards(tiny_model, tmp_path / "whole")
    assert (tmp_path / "parts" / "shard-00000.parquet").stat().st_mtime_ns == first.st_mtime_ns
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_unusable_prompts(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    config = GenerationConfig(images=2)
    with pytest.raises(InputError, match="no training prompts"):
        generate_samples(
            tiny_model, [], Brightness(), sampling=SAMPLING, config=config, work_dir=tmp_path
        )
