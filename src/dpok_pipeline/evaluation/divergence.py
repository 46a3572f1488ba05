"""How far a tuned model has moved from its base model, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import KLForm, SamplingConfig
from dpok_pipeline.diffusion.ddim import DDIMTransitions
from dpok_pipeline.diffusion.guidance import predict_noise
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.prompt_encoder import encode


@torch.no_grad()
def divergence_along(
    model: DiffusionModel,
    prompts: Sequence[str],
    trajectory: Tensor,
    sampling: SamplingConfig,
    *,
    form: KLForm = "noise_mse",
    every: int = 1,
) -> Tensor:
    """KL to the base model along the tuned model's own denoising, averaged over its steps.

    The paper measures the KL on the current policy's samples (section 4.3).

    Args:
        model: with the LoRA that the trajectory was drawn with; without one the result is 0.
        prompts: b texts.
        trajectory: `(steps + 1, b, c, h, w)`, as `sample` keeps it.
        sampling: as it was sampled.
        form: the official code's mean squared noise difference, or the Gaussian KL.
        every: measure each so many steps, from the first; both networks run once for each.

    Returns:
        `(b,)` float32.
    """
    steps = DDIMTransitions.build(model.scheduler, sampling, model.device)
    prompt, empty = encode(model, prompts), encode(model, [""])
    total = torch.zeros(len(prompts), device=model.device)
    measured = range(0, len(steps), every)
    for i in measured:
        step = torch.full((len(prompts),), i, device=model.device)
        inputs = (trajectory[i], steps.timesteps[step], prompt, empty, sampling.guidance_scale)
        tuned = predict_noise(model, *inputs)
        with reference_policy(model.unet):
            base = predict_noise(model, *inputs)
        total += steps.kl(tuned, base, step, form)
    return total / len(measured)
