from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.train import train_dpok
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora, lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.scoring import fill_missing, score_rewards
from tests.algorithms.support import (
    LORA,
    PROMPTS,
    SAMPLING,
    Brightness,
    lora_bytes,
    lora_tensors,
    run_dpok,
    small_config,
)
from tests.small_memory import SmallMemory


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
        (torch.zeros(4, 1), r"returned shape \(4, 1\) for 4 images"),
        (torch.zeros(3), r"returned shape \(3,\) for 4 images"),
        (["a"] * 4, "returned no numbers"),
        (torch.zeros(4, dtype=torch.complex64), "returned no numbers: complex numbers"),
    ],
)
def test_unusable_rewards(
    tiny_model: DiffusionModel, tmp_path: Path, scores: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        run_dpok(tiny_model, tmp_path, reward=Wrong(scores))
    assert "\n" not in str(raised.value)
    assert not lora_layers(tiny_model.unet)


def test_a_reward_gets_less_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images, prompts = torch.rand(5, 3, 4, 4), ["A cat."] * 5
    expected = score_rewards(Brightness(), images, prompts).rewards
    reward = Brightness()
    small = SmallMemory(reward.score, 2)
    monkeypatch.setattr(reward, "score", small)
    torch.testing.assert_close(score_rewards(reward, images, prompts).rewards, expected)
    assert small.refused == [5, 3]
    small.most = 0
    with pytest.raises(InputError, match="scoring images by Brightness on cpu: one at a time"):
        score_rewards(reward, images, prompts)


def test_an_image_without_a_reward_has_the_mean_of_its_prompts_others() -> None:
    """By the mean over all, it would be the best image of a difficult prompt."""
    prompts = ["hard", "hard", "hard", "easy", "easy", "lost", "lost"]
    nan = torch.nan
    given = torch.tensor([-2.0, -4.0, nan, 2.0, 4.0, nan, nan])
    scores = fill_missing(given, Brightness(), prompts)
    assert scores.rewards.tolist() == [-2, -4, -3, 2, 4, 0, 0]
    assert scores.unscored == 3


def test_an_image_that_is_not_finite_has_no_reward() -> None:
    class Lenient(Brightness):
        def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
            return super().score(images.nan_to_num(), prompts)

    images = torch.full((3, 3, 4, 4), 0.5)
    images[1, 0, 0, 0] = torch.nan
    scores = score_rewards(Lenient(), images, ["A cat."] * 3)
    assert scores.scored.tolist() == [True, False, True]
    assert scores.rewards.tolist() == [0, 0, 0]


def test_a_reward_keeps_no_activations() -> None:
    class Trainable(Brightness):
        weight = torch.ones((), requires_grad=True)

        def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
            assert not (self.weight * super().score(images, prompts)).requires_grad
            return super().score(images, prompts)

    score_rewards(Trainable(), torch.rand(2, 3, 4, 4), ["A cat."] * 2)


def test_one_unscored_image_gets_the_mean_of_its_prompt(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    scores = torch.tensor([1.0, torch.nan, 2.0, 3.0])
    result = run_dpok(tiny_model, tmp_path, reward=Wrong(scores), iterations=1)
    # Of the two prompts the second has the other image, whose reward is 3.
    assert result.curves["reward/mean"][0] == 2.25


def test_updates_with_a_broken_gradient_are_skipped_and_counted(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    # A finite reward whose advantage overflows the loss.
    rewards = Wrong(torch.tensor([3e38, -3e38, 3e38, -3e38]))
    result = run_dpok(tiny_model, tmp_path, reward=rewards, baseline="none", iterations=1)
    assert result.summary["skipped_updates"] == 2
    assert result.curves["grad/skipped_updates"][0] == 2
    assert all(bool(value.isfinite().all()) for value in lora_tensors(result).values())


class Fails(Brightness):
    """Works, then gives what is no number for some rollouts."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.call = calls, 0

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.call += 1
        scores = super().score(images, prompts)
        return scores * (torch.inf if self.call in self.calls else 1)


def test_a_rollout_without_rewards_is_skipped_and_counted(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    result = run_dpok(tiny_model, tmp_path, reward=Fails(2), iterations=3)
    curves = result.curves
    assert curves["grad/skipped_updates"].tolist() == [0, 2, 2]
    assert curves["reward/unscored"].tolist() == [0, 4, 0]
    assert curves["reward/mean"].isna().tolist() == [False, True, False]
    assert result.summary["skipped_updates"] == 2
    assert result.summary["last_reward"] == curves["reward/mean"][2]


def test_a_reward_that_stays_broken_stops_the_run_at_the_last_good_checkpoint(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"iterations": 9, "stop_after_skipped": 5}
    with pytest.raises(InputError) as raised:
        run_dpok(tiny_model, tmp_path / "parts", reward=Fails(*range(3, 99)), **options)
    message = str(raised.value)
    # Two updates per iteration: the fifth skipped one is in the third iteration without a reward.
    assert "6 updates in a row" in message
    assert "reward Fails gave no finite score for prompt" in message
    assert any(prompt in message for prompt in PROMPTS)
    assert "step-00000002 is intact" in message
    assert "learning_rate" in message
    assert "\n" not in message
    newest = sorted((tmp_path / "parts" / "checkpoints").iterdir())[-1]
    assert newest.name == "step-00000002"
    # With the reward mended the run goes on as if nothing had happened.
    parts = run_dpok(tiny_model, tmp_path / "parts", **{**options, "iterations": 3})
    whole = run_dpok(tiny_model, tmp_path / "whole", **{**options, "iterations": 3})
    assert lora_bytes(parts) == lora_bytes(whole)


def test_broken_gradients_in_a_row_stop_the_run(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    rewards = Wrong(torch.tensor([3e38, -3e38, 3e38, -3e38]))
    options: dict[str, Any] = {"baseline": "none", "iterations": 9, "stop_after_skipped": 4}
    with pytest.raises(InputError, match="4 updates in a row") as raised:
        run_dpok(tiny_model, tmp_path, reward=rewards, **options)
    assert "largest reward 3e+38, by Wrong for prompt" in str(raised.value)
    assert "no checkpoint was made" in str(raised.value)


def test_a_loss_that_is_not_finite_is_skipped_though_its_gradient_is(
    tiny_model: DiffusionModel,
) -> None:
    attach_lora(tiny_model.unet, LORA, 0)
    try:
        optimiser = LoRAOptimiser(tiny_model, small_config(learning_rate=0.1, max_grad_norm=1.0))
        weights = optimiser.parameters
        before = [weight.detach().clone() for weight in weights]
        optimiser.backward(sum(weight.sum() for weight in weights) + torch.inf)
        assert bool(torch.isfinite(optimiser.step()))
        assert (optimiser.skipped, optimiser.skipped_in_a_row) == (1, 1)
        assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))
        optimiser.zero_grad()
        optimiser.backward(sum(weight.sum() for weight in weights))
        optimiser.step()
        assert (optimiser.skipped, optimiser.skipped_in_a_row) == (1, 0)
        assert not torch.equal(weights[0], before[0])
    finally:
        detach_lora(tiny_model.unet)


def test_the_value_function_survives_a_reward_it_cannot_square(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    class Huge(Fails):
        def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
            return super().score(images, prompts).clamp(-3e38, 3e38)

    result = run_dpok(tiny_model, tmp_path, reward=Huge(2), iterations=4, buffer_rollouts=1)
    assert result.curves["grad/skipped_updates"].tolist()[-1] == 2
    assert result.curves["value/loss"].map(math.isfinite).tolist() == [True, False, True, True]


def test_alarms_ring_where_images_leave_the_base_models_range(
    tiny_model: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Per image; the first rollout has mean 2.5 and standard deviation 1.118.
    rollouts = iter([[1.0, 2.0, 3.0, 4.0], [5.8] * 4, [5.9] * 4])
    measures = {
        "colour": lambda images, prompts: torch.tensor(next(rollouts)),
        "steady": lambda images, prompts: torch.ones(len(prompts)),
    }
    with caplog.at_level(logging.WARNING):
        result = run_dpok(tiny_model, tmp_path, measures=measures)
    assert result.curves["images/colour"].tolist() == pytest.approx([2.5, 5.8, 5.9])
    # 3 × 1.118 above 2.5 is 5.854.
    assert result.curves["alarm/colour"].tolist() == [0, 0, 1]
    assert result.curves["alarm/steady"].tolist() == [0, 0, 0]
    assert caplog.text.count("Alarm in iteration 3: colour is 5.9") == 1


def test_the_range_outlives_a_restart(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    def measures(*rollouts: float) -> dict[str, Any]:
        values = iter(rollouts)
        return {"colour": lambda images, prompts: next(values) + torch.arange(len(prompts))}

    run_dpok(tiny_model, tmp_path, iterations=1, measures=measures(0.0))
    result = run_dpok(tiny_model, tmp_path, iterations=2, measures=measures(9.0))
    assert result.curves["alarm/colour"].tolist() == [0, 1]


def test_a_range_that_was_never_measured_rings_nothing(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    def measures(*rollouts: float) -> dict[str, Any]:
        values = iter(rollouts)
        return {"colour": lambda images, prompts: next(values) + torch.arange(len(prompts))}

    run_dpok(tiny_model, tmp_path / "late", iterations=1)
    late = run_dpok(tiny_model, tmp_path / "late", iterations=3, measures=measures(0.0, 9.0))
    assert late.curves["alarm/colour"].tolist()[1:] == [0, 0]
    one = measures(0.0, 9.0, 9.0)  # the spread of a single image is 0
    alone = run_dpok(tiny_model, tmp_path / "alone", images_per_iteration=1, measures=one)
    assert alone.curves["alarm/colour"].tolist() == [0, 0, 0]


def test_a_skipped_rollout_has_no_measures(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    rollouts = iter([0.0, 9.0])
    measures = {"colour": lambda images, prompts: next(rollouts) + torch.arange(len(prompts))}
    curves = run_dpok(tiny_model, tmp_path, reward=Fails(2), measures=measures).curves
    assert curves["images/colour"].isna().tolist() == [False, True, False]
    assert curves["alarm/colour"].isna().tolist() == [False, True, False]
    assert curves["alarm/colour"].iloc[-1] == 1


def test_no_alarms_are_measured_where_they_are_off(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    def never(images: Tensor, prompts: Sequence[str]) -> Tensor:
        raise AssertionError

    options: dict[str, Any] = {"iterations": 1, "alarm_deviations": None}
    assert "alarm/x" not in run_dpok(tiny_model, tmp_path, measures={"x": never}, **options).curves


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
        assert "literal" not in caplog.text
        literal = run_dpok(tiny_model, tmp_path / "literal", literal_ratio_clip=True, **options)
    assert "literal_ratio_clip: false" in caplog.text
    clipped = "policy/clip_fraction"
    assert literal.curves[clipped][0] > scaled.curves[clipped][0]
