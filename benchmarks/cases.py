"""What is measured: the engine's own functions, as training calls them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Measurement, measure
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora
from dpok_pipeline.diffusion.sampler import Samples, sample
from dpok_pipeline.training.buffer import TransitionBuffer, Transitions
from dpok_pipeline.training.config import DPOKConfig, SFTConfig
from dpok_pipeline.training.policy_update import PolicyUpdater
from dpok_pipeline.training.sft_samples import SFTSamples
from dpok_pipeline.training.sft_update import SFTUpdater

PROMPT = "A dog on the moon."


@dataclass(frozen=True)
class Setting:
    """Sizes of a benchmark.

    Attributes:
        images: per rollout.
        rows: transitions per update.
        microbatch: rows through the network at once.
        rank: of the LoRA.
        sampling: steps and guidance.
        repeats: timed calls.
    """

    images: int
    rows: int
    microbatch: int
    rank: int
    sampling: SamplingConfig
    repeats: int


def run_cases(model: DiffusionModel, setting: Setting) -> list[Measurement]:
    """Rollout, decoding, DPOK update and SFT update, one after the other."""
    attach_lora(model.unet, LoRAConfig(rank=setting.rank), seed=0)
    try:
        samples = rollout(model, setting)
        return [
            measure(
                "rollout", "image", setting.images, lambda: rollout(model, setting),
                model.device, setting.repeats,
            ),
            measure(
                "decoding", "image", setting.images, lambda: decode(model, samples.latents),
                model.device, setting.repeats,
            ),
            policy_update(model, samples, setting),
            sft_update(model, samples, setting),
        ]  # fmt: skip
    finally:
        detach_lora(model.unet)


def rollout(model: DiffusionModel, setting: Setting) -> Samples:
    """One rollout with its trajectory."""
    return sample(
        model,
        [PROMPT] * setting.images,
        setting.sampling,
        seed=0,
        indices=range(setting.images),
        keep_trajectory=True,
    )


def policy_update(model: DiffusionModel, samples: Samples, setting: Setting) -> Measurement:
    """A DPOK update: reference forward, policy forward and backward of every row."""
    config = DPOKConfig(
        iterations=1,
        images_per_iteration=setting.images,
        transitions_per_update=setting.rows,
        microbatch=setting.microbatch,
    )
    buffer = TransitionBuffer(
        1, setting.sampling.ddim_steps, setting.images, model.latent_shape, model.device
    )
    device = model.device
    prompts = torch.zeros(setting.images, dtype=torch.int64)
    buffer.add(samples, torch.randn(setting.images, device=device), prompts)
    updater = PolicyUpdater(model, [PROMPT], setting.sampling, config)
    numbers = torch.randperm(len(buffer))[: setting.rows]

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
    data = SFTSamples(
        latents=samples.latents.cpu(),
        rewards=torch.ones(setting.images),
        prompts=[PROMPT],
        prompt_numbers=torch.zeros(setting.images, dtype=torch.int64),
    )
    config = SFTConfig(updates=1, rows_per_update=setting.rows, microbatch=setting.microbatch)
    updater = SFTUpdater(model, data, config)
    return measure(
        "SFT update",
        "image",
        setting.rows,
        lambda: updater.update(0),
        model.device,
        setting.repeats,
    )
