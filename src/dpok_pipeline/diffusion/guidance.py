"""Classifier-free guidance with both halves in one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel


def predict_noise(
    model: DiffusionModel,
    latents: Tensor,
    timesteps: Tensor,
    prompt: Tensor,
    empty_prompt: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Guided noise prediction, with whatever LoRA state the UNet is in.

    ε = ε(∅) + scale · (ε(prompt) − ε(∅)); at scale 1 only the prompt's half is computed.
    Gradients flow through both halves, as in the official code.

    Args:
        model: the base model.
        latents: x_t, `(b, c, h, w)` float32.
        timesteps: `(b,)` int64.
        prompt: `(b, tokens, dim)`.
        empty_prompt: `(1, tokens, dim)`, the empty text.
        guidance_scale: 1 or more.

    Returns:
        `(b, c, h, w)` float32.
    """
    if guidance_scale == 1:
        with model.autocast():
            output: Tensor = model.unet(latents, timesteps, prompt, return_dict=False)[0]
        return output.float()
    hidden = torch.cat([empty_prompt.expand_as(prompt), prompt])  # (2b, tokens, dim)
    with model.autocast():
        output = model.unet(
            torch.cat([latents, latents]),
            torch.cat([timesteps, timesteps]),
            hidden,
            return_dict=False,
        )[0]
    unconditional, conditional = output.float().chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)
