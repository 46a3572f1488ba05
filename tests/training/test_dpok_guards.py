from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.dpok import train_dpok
from tests.training.support import (
    LORA,
    PROMPTS,
    SAMPLING,
    Brightness,
    lora_tensors,
    run_dpok,
    small_config,
)


class Wrong:
    """Gives what it is told to."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def score(self, images: Tensor, prompts: Sequence[str]) -> Any:
        return self.scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.full((4,), torch.nan), "no finite score"),
        (torch.zeros(4, 1), r"gave \(4, 1\) for 4 images"),
        (torch.zeros(3), r"gave \(3,\) for 4 images"),
        ([0.0] * 4, "gave list for 4 images"),
    ],
)
def test_unusable_rewards(
    tiny_model: DiffusionModel, tmp_path: Path, scores: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        run_dpok(tiny_model, tmp_path, reward=Wrong(scores))
    assert "\n" not in str(raised.value)
    assert not lora_layers(tiny_model.unet)


def test_one_unscored_image_gets_the_others_mean(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    scores = torch.tensor([1.0, torch.nan, 2.0, 3.0])
    result = run_dpok(tiny_model, tmp_path, reward=Wrong(scores), iterations=1)
    assert result.curves["reward/mean"][0] == 2


def test_updates_with_a_broken_gradient_are_skipped_and_counted(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    # A finite reward whose advantage overflows the loss.
    rewards = Wrong(torch.tensor([3e38, -3e38, 3e38, -3e38]))
    result = run_dpok(tiny_model, tmp_path, reward=rewards, baseline="none", iterations=1)
    assert result.summary["skipped_updates"] == 2
    assert result.curves["grad/skipped_updates"][0] == 2
    assert all(bool(value.isfinite().all()) for value in lora_tensors(result).values())


def test_unusable_prompts_and_sampling(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    def train(prompts: Sequence[str], sampling: SamplingConfig = SAMPLING) -> None:
        train_dpok(
            tiny_model,
            prompts,
            Brightness(),
            sampling=sampling,
            lora=LORA,
            config=small_config(),
            work_dir=tmp_path,
        )

    with pytest.raises(InputError, match="run prompt_preparation"):
        train([])
    with pytest.raises(InputError, match="is empty"):
        train(["A cat.", " "])
    with pytest.raises(InputError, match="eta is 0"):
        train(PROMPTS, SamplingConfig(ddim_steps=3, guidance_scale=3, eta=0))
    with pytest.raises(InputError, match="tokens"):
        train(["zebra " * 20])


def test_the_literal_summed_pair_warns(
    tiny_model: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"iterations": 1, "updates_per_iteration": 4, "log_prob": "sum"}
    with caplog.at_level(logging.WARNING):
        scaled = run_dpok(tiny_model, tmp_path / "scaled", **options)
        assert not caplog.records
        literal = run_dpok(tiny_model, tmp_path / "literal", literal_ratio_clip=True, **options)
    assert "literal_ratio_clip: false" in caplog.text
    clipped = "policy/clip_fraction"
    assert literal.curves[clipped][0] > scaled.curves[clipped][0]
