"""What is measured: the engine's own functions, as training calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Measurement, measure
from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer, Transitions
from dpok_pipeline.algorithms.dpok.trainer import DPOKTrainer
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.update import SFTUpdater
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora
from dpok_pipeline.diffusion.sampler import Samples, sample
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.config import DPOKConfig, SFTConfig
from dpok_pipeline.training.scoring import score_images
from dpok_pipeline.training.tracking import NullTracker

PROMPT = "A dog on the moon."


@dataclass(frozen=True)
class Setting:
    """What a benchmark measures.

    Attributes:
        sampling: steps, eta and guidance.
        lora: the rank.
        rl: sizes of rollout and update.
        sft: sizes of SFT's update.
        repeats: timed calls.
    """

    sampling: SamplingConfig
    lora: LoRAConfig
    rl: DPOKConfig
    sft: SFTConfig
    repeats: int


def run_cases(model: DiffusionModel, reward: Scorer, setting: Setting) -> list[Measurement]:
    """Rollout, decoding, reward, both updates and a whole iteration, one after the other."""
    attach_lora(model.unet, setting.lora, seed=0)
    try:
        samples = rollout(model, setting)
        images = decode(model, samples.latents, setting.rl.rollout_batch)
        count = setting.rl.images_per_iteration

        def per_image(name: str, function: Callable[[], object]) -> Measurement:
            return measure(name, "image", count, function, model.device, setting.repeats)

        return [
            per_image("rollout", lambda: rollout(model, setting)),
            per_image("decoding", lambda: decode(model, samples.latents, setting.rl.rollout_batch)),
            per_image("reward", lambda: score(reward, images)),
            policy_update(model, samples, setting),
            sft_update(model, samples, setting),
            iteration(model, reward, setting),
        ]
    finally:
        detach_lora(model.unet)


def rollout(model: DiffusionModel, setting: Setting) -> Samples:
    """One rollout with its trajectory."""
    count = setting.rl.images_per_iteration
    return sample(
        model,
        [PROMPT] * count,
        setting.sampling,
        seed=0,
        indices=range(count),
        batch_size=setting.rl.rollout_batch,
        keep_trajectory=True,
    )


@torch.no_grad()
def score(reward: Scorer, images: Tensor) -> Tensor:
    """Rewards of a rollout's images."""
    return score_images(reward, images, [PROMPT] * len(images))


def policy_update(model: DiffusionModel, samples: Samples, setting: Setting) -> Measurement:
    """A DPOK update: reference forward, policy forward and backward of every row."""
    count, device = setting.rl.images_per_iteration, model.device
    buffer = TransitionBuffer(1, setting.sampling.ddim_steps, count, model.latent_shape, device)
    rewards = torch.randn(count, device=device)
    buffer.add(samples, rewards, torch.zeros(count, dtype=torch.int64))
    updater = PolicyUpdater(model, [PROMPT], setting.sampling, setting.rl)
    numbers = torch.randperm(len(buffer))[: setting.rl.transitions_per_update]

    def advantage(rows: Transitions) -> Tensor:
        return rows.reward

    return measure(
        "DPOK update",
        "transition",
        len(numbers),
        lambda: updater.update(buffer, numbers, advantage),
        device,
        setting.repeats,
    )


def sft_update(model: DiffusionModel, samples: Samples, setting: Setting) -> Measurement:
    """An SFT update with KL-O: no guidance, so half the rows of DPOK's go through the UNet."""
    count = len(samples.latents)
    data = SFTSamples(
        latents=samples.latents.cpu(),
        rewards=torch.ones(count),
        prompts=[PROMPT],
        prompt_numbers=torch.zeros(count, dtype=torch.int64),
    )
    updater = SFTUpdater(model, data, setting.sft)
    return measure(
        "SFT update",
        "image",
        setting.sft.rows_per_update,
        lambda: updater.update(0),
        model.device,
        setting.repeats,
    )


def iteration(model: DiffusionModel, reward: Scorer, setting: Setting) -> Measurement:
    """Everything that an iteration of DPOK does: rollout, reward, value function, updates."""
    prompts = [PROMPT]
    trainer = DPOKTrainer(model, prompts, reward, setting.sampling, setting.rl, NullTracker(), {})
    return measure("iteration", "iteration", 1, trainer._iterate, model.device, setting.repeats)
