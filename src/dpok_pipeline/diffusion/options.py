"""Settings of the networks that trade time for memory, or generality for speed."""

from __future__ import annotations

from typing import Any

import torch

from dpok_pipeline.diffusion.config import NetworkOptions, Precision


def half_precision(device: str | torch.device) -> Precision:
    """The number type that a device computes fastest in without giving up its training.

    bfloat16 on a GPU that has it, float16 (whose losses are scaled) on an older one, float32 on
    anything else.
    """
    if torch.device(device).type != "cuda":
        return "float32"
    # Emulated bfloat16 is slower than float32.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def apply_options(unet: Any, vae: Any, options: NetworkOptions) -> None:
    """Set up networks that are on their device already; a LoRA may be attached later.

    Gradient checkpointing is diffusers' own, in the form that needs no input with a gradient and
    no training mode: with the reentrant form a LoRA would silently get none (the official code
    asks for checkpointing and never gets it, because it evaluates in evaluation mode).

    Args:
        unet: `UNet2DConditionModel`.
        vae: `AutoencoderKL`.
        options: what to do to them.
    """
    if options.channels_last:
        unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    if options.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if options.compile:
        # In place: the module stays the one that LoRA layers are injected into.
        unet.compile()
