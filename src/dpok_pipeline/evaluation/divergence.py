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
from dpok_pipeline.diffusion.sampler import sample


@torch.no_grad()
def divergence_from_base(
    model: DiffusionModel,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    *,
    seed: int,
    indices: Sequence[int],
    form: KLForm = "noise_mse",
    batch_size: int = 64,
) -> Tensor:
    """KL to the base model along the tuned model's own denoising, averaged over its steps.

    The paper measures the KL on the current policy's samples (section 4.3); this does so with
    the noise that evaluation uses.

    Args:
        model: with its LoRA attached; without one the result is 0.
        prompts: n texts.
        sampling: as the images were sampled.
        seed: of the evaluation.
        indices: n image indices.
        form: the official code's mean squared noise difference, or the Gaussian KL.
        batch_size: images at once.

    Returns:
        `(n,)` float32.
    """
    parts = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        trajectory = sample(
            model, prompts[part], sampling, seed=seed, indices=indices[part], keep_trajectory=True
        ).trajectory
        assert trajectory is not None  # asked for above
        parts.append(divergence_along(model, prompts[part], trajectory, sampling, form))
    return torch.cat(parts)


@torch.no_grad()
def divergence_along(
    model: DiffusionModel,
    prompts: Sequence[str],
    trajectory: Tensor,
    sampling: SamplingConfig,
    form: KLForm = "noise_mse",
) -> Tensor:
    """The same along a trajectory that `sample` has kept, so that nothing is drawn twice.

    Args:
        model: with the LoRA that the trajectory was drawn with.
        prompts: b texts.
        trajectory: `(steps + 1, b, c, h, w)`; a slice of its images measures those alone.
        sampling: as it was sampled.
        form: as in `divergence_from_base`.

    Returns:
        `(b,)` float32.
    """
    steps = DDIMTransitions.build(model.scheduler, sampling, model.device)
    prompt, empty = encode(model, prompts), encode(model, [""])
    total = torch.zeros(len(prompts), device=model.device)
    for i in range(len(steps)):
        step = torch.full((len(prompts),), i, device=model.device)
        inputs = (trajectory[i], steps.timesteps[step], prompt, empty, sampling.guidance_scale)
        tuned = predict_noise(model, *inputs)
        with reference_policy(model.unet):
            base = predict_noise(model, *inputs)
        total += steps.kl(tuned, base, step, form)
    return total / len(steps)
