"""How far a tuned model has moved from its base model, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions, predict_noise
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.diffusion.prompt_encoder import encode


@torch.no_grad()
def divergence_along(
    model: DiffusionModel,
    prompts: Sequence[str],
    trajectory: Tensor,
    sampling: SamplingConfig,
    *,
    every: int = 1,
    batch_size: int = 64,
) -> Tensor:
    """Measure the KL to the base model along the tuned model's own denoising, averaged over steps.

    It is the official code's, the mean squared difference of the predicted noises, on the current
    policy's samples as in the paper (section 4.3).

    Args:
        model: Model with the LoRA that the trajectory was drawn with; without one the result is 0.
        prompts: Texts of the b images.
        trajectory: `(steps + 1, b, c, h, w)`, as `sample` keeps it.
        sampling: How the trajectory was sampled.
        every: Distance of the steps that are measured, beginning with the first; both networks
            run once for each.
        batch_size: Images at once (guidance doubles it); halved when memory runs out.

    Returns:
        One number per image, `(b,)` float32.
    """
    steps = DDIMTransitions.build(model.scheduler, sampling, model.device)
    prompt, empty = encode(model, prompts), encode(model, [""])
    measured = range(0, len(steps), every)

    def mean(part: slice) -> Tensor:
        texts = prompt[part]
        total = torch.zeros(len(texts), device=model.device)
        for i in measured:
            step = torch.full((len(texts),), i, device=model.device)
            latents, times = trajectory[i, part], steps.timesteps[step]
            inputs = (latents, times, texts, empty, sampling.guidance_scale)
            tuned = predict_noise(model, *inputs)
            with reference_policy(model.unet):
                base = predict_noise(model, *inputs)
            total += steps.kl(tuned, base, step, "noise_mse")
        return total / len(measured)

    return in_parts(mean, len(prompts), batch_size, f"measuring the KL on {model.device}")
