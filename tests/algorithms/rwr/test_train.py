from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.rwr.train import train_rwr
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import detach_lora, load_lora, lora_layers
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.tracking import TrainingResult
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, Brightness, generator, lora_bytes


def config(**changes: Any) -> RWRConfig:
    values: dict[str, Any] = {
        "iterations": 3,
        "images_per_iteration": 4,
        "group_size": 4,
        "updates_per_iteration": 3,
        "rows_per_update": 6,
        "microbatch": 6,
        "learning_rate": 1e-2,
        "checkpoint_every": 1,
    }
    return RWRConfig(**{**values, **changes})


def run(
    model: DiffusionModel, work_dir: Path, reward: Any = None, **changes: Any
) -> TrainingResult:
    return train_rwr(
        model,
        PROMPTS,
        reward or Brightness(),
        sampling=SAMPLING,
        lora=LORA,
        config=config(**changes),
        work_dir=work_dir,
    )


def test_two_runs_give_the_same_bytes(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    one, two = (run(tiny_model, tmp_path / name) for name in ("one", "two"))
    assert lora_bytes(one) == lora_bytes(two)
    assert lora_bytes(run(tiny_model, tmp_path / "three", seed=1)) != lora_bytes(one)
    assert not lora_layers(tiny_model.unet)
    curves = one.curves
    assert curves["step"].tolist() == [1, 2, 3]
    assert curves["images_seen"].tolist() == [4, 8, 12]
    assert curves["policy/effective_share"].between(0.25, 1).all()
    assert curves["kl/noise_mse"].iloc[-1] > 0
    assert one.summary["images"] == 12
    assert one.summary["last_reward"] == curves["reward/mean"].iloc[-1]
    assert curves.notna().all(axis=None)


class Fails(Brightness):
    def __init__(self, *calls: int) -> None:
        self.calls, self.call = calls, 0

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        self.call += 1
        return super().score(images, prompts) * (torch.inf if self.call in self.calls else 1)


def test_other_inputs_are_refused_by_name(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    run(tiny_model, tmp_path, iterations=1)
    with pytest.raises(InputError, match=r"rl_training\.temperature was 1\.0 and is 0\.5"):
        run(tiny_model, tmp_path, iterations=2, temperature=0.5)


def test_a_rollout_without_rewards_is_skipped_and_counted(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    curves = run(tiny_model, tmp_path, Fails(2)).curves
    assert curves["grad/skipped_updates"].tolist() == [0, 3, 3]
    assert curves["reward/mean"].isna().tolist() == [False, True, False]
    with pytest.raises(InputError, match="no finite score"):
        run(tiny_model, tmp_path / "first", Fails(1))


@pytest.mark.parametrize(
    "changes", [{"temperature": 0.3}, {"sft_shift": 5.0}, {"loss": "x0"}, {"group_size": 2}]
)
def test_named_options(tiny_model: DiffusionModel, tmp_path: Path, changes: dict[str, Any]) -> None:
    default = lora_bytes(run(tiny_model, tmp_path / "default", iterations=2))
    assert lora_bytes(run(tiny_model, tmp_path / "changed", iterations=2, **changes)) != default


def teach_flat_latents(model: DiffusionModel) -> None:
    """Train the whole UNet to denoise latents of one value per channel.

    Regression on own images improves a policy only where the base model is a denoiser of its own
    images; random weights are far from one, and would drift there whatever the weights.
    """
    random = generator(0)
    table, alphas = PromptTable.encode(model, PROMPTS), model.scheduler.alphas_cumprod
    weights = list(model.unet.parameters())
    optimiser = torch.optim.AdamW(weights, lr=3e-3)
    for weight in weights:
        weight.requires_grad_(True)
    for _ in range(200):
        latents = torch.randn(16, 4, 1, 1, generator=random).expand(-1, -1, 8, 8)
        times = torch.randint(1000, (16,), generator=random)
        noise = torch.randn(16, 4, 8, 8, generator=random)
        alpha = alphas[times].reshape(-1, 1, 1, 1)
        noised = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        prompts = table.hidden[torch.randint(3, (16,), generator=random)]
        optimiser.zero_grad()
        (model.unet(noised, times, prompts)[0] - noise).square().mean().backward()
        optimiser.step()
    for weight in weights:
        weight.requires_grad_(False)


@pytest.mark.stress
def test_the_reward_rises_on_unseen_noise(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder))
    teach_flat_latents(model)
    monkeypatch.setattr(
        "dpok_pipeline.training.rollouts.drawer.decode",
        lambda model, latents, batch: latents[:, :3],
    )
    sampling = SamplingConfig(ddim_steps=6, guidance_scale=1)
    prompts = list(PROMPTS) * 16

    def trained(sign: int) -> Tensor:
        """First channel of images on unseen noise, after training to raise or to lower it."""

        class Channel:
            def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
                return sign * images[:, 0].mean((1, 2))

        options: dict[str, Any] = {
            "iterations": 4,
            "images_per_iteration": 48,
            "group_size": 16,
            "updates_per_iteration": 10,
            "rows_per_update": 48,
            "microbatch": 48,
            "temperature": 0.5,
            "checkpoint_every": 4,
        }
        result = train_rwr(
            model,
            PROMPTS,
            Channel(),
            sampling=sampling,
            lora=LORA,
            config=config(**options),
            work_dir=tmp_path / str(sign),
        )
        load_lora(model.unet, result.lora_folder)
        samples = sample(model, prompts, sampling, seed=123, indices=range(len(prompts)))
        detach_lora(model.unet)
        return samples.latents[:, 0].mean((1, 2))

    # The same images and times for both: what differs are the weights alone.
    gain = trained(1) - trained(-1)
    assert gain.mean() > 5 * gain.std() / len(prompts) ** 0.5


def test_the_anchor_holds_the_policy_back(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    options: dict[str, Any] = {"iterations": 4, "max_grad_norm": 1e9}
    free = run(tiny_model, tmp_path / "free", sft_shift=0.0, **options).curves
    held = run(tiny_model, tmp_path / "held", sft_shift=40.0, **options).curves
    assert held["kl/noise_mse"].iloc[-1] < free["kl/noise_mse"].iloc[-1]


def test_weights_that_say_nothing_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    alone = config(images_per_iteration=16, group_size=1)
    with pytest.raises(InputError, match="100% of the weights do not depend on the reward"):
        alone.check(SAMPLING, 16)
    with caplog.at_level(logging.WARNING):
        alone.check(SAMPLING, 4)
        config(images_per_iteration=16, group_size=2).check(SAMPLING, 16)
        assert not caplog.records
        config(images_per_iteration=16, group_size=1, iterations=20).check(SAMPLING, 11)
    assert "of the weights" in caplog.text
