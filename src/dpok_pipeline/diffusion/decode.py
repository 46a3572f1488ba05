"""Latents to images."""

from __future__ import annotations

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.memory import in_parts


@torch.no_grad()
def decode(model: DiffusionModel, latents: Tensor, batch_size: int = 16) -> Tensor:
    """Decode final latents with the model's autoencoder.

    Args:
        model: the base model.
        latents: x_0, `(n, c, h, w)`, scaled as the UNet sees them.
        batch_size: images at once; halved when memory runs out.

    Returns:
        `(n, 3, H, W)` float32 in [0, 1] on the model's device.
    """
    return in_parts(
        lambda part: _decode_batch(model, latents[part]),
        len(latents),
        batch_size,
        f"decoding images on {model.device}",
    )


def _decode_batch(model: DiffusionModel, latents: Tensor) -> Tensor:
    scaled = latents.to(model.device) / model.vae.config.scaling_factor
    with model.autocast():
        images: Tensor = model.vae.decode(scaled, return_dict=False)[0]
    return (images.float() / 2 + 0.5).clamp(0, 1)
