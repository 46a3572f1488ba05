from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.training import generation
from dpok_pipeline.training.config import GenerationConfig
from dpok_pipeline.training.generation import generate_samples
from dpok_pipeline.training.sft_samples import SFTSamples
from tests.training.support import SAMPLING, Brightness

PROMPTS = [("cat", "A cat."), ("dog", "A dog on the moon.")]


def shards(model: DiffusionModel, work_dir: Path, **changes: Any) -> list[pd.DataFrame]:
    config = GenerationConfig(**{"images": 7, "shard_size": 3, "batch_size": 2, **changes})
    return list(
        generate_samples(
            model, PROMPTS, Brightness(), sampling=SAMPLING, config=config, work_dir=work_dir
        )
    )


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


def test_parquet_keeps_every_type(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    made = shards(tiny_model, tmp_path)
    read = pd.read_parquet(tmp_path / "shard-00000.parquet")
    for name in ("prompt_id", "prompt", "index", "seed", "reward"):
        assert read[name].tolist() == made[0][name].tolist()
    assert read["latent"][0].dtype == np.float32
    assert np.array_equal(read["latent"][1], made[0]["latent"][1])
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


def test_other_parameters_start_anew(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    first = shards(tiny_model, tmp_path)
    second = shards(tiny_model, tmp_path, seed=1)
    assert not np.array_equal(first[0]["latent"][0], second[0]["latent"][0])
    assert len(list(tmp_path.glob("shard-*"))) == 3


def test_unusable_prompts(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    config = GenerationConfig(images=2)
    with pytest.raises(InputError, match="no training prompts"):
        next(
            generate_samples(
                tiny_model, [], Brightness(), sampling=SAMPLING, config=config, work_dir=tmp_path
            )
        )
