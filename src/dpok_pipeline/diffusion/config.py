"""Typed parameters of sampling, of the LoRA policy, and of the networks' use of the device."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dpok_pipeline.config import FrozenConfig

Precision = Literal["float32", "bfloat16", "float16"]
"""Number type of the networks; latents, log-probabilities and LoRA weights stay in float32."""

LogProbReading = Literal["mean", "sum"]
"""Log-probability averaged over the latent (official code), or summed over it (paper)."""

KLForm = Literal["noise_mse", "gaussian"]
"""KL as mean squared noise difference (official code), or between Gaussians (paper)."""


class SamplingConfig(FrozenConfig):
    """Settings by which rollouts, SFT data and evaluation all draw their images."""

    ddim_steps: int = Field(ge=1, le=1000, description="Denoising steps per image (T).")
    eta: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="DDIM's η, a factor on the noise of each step. 1 gives the policy that DPOK "
        "trains; 0 draws deterministically, without any log-probability.",
    )
    guidance_scale: float = Field(
        ge=1.0,
        description="Weight of the prompt in classifier-free guidance. 1 means no guidance, and "
        "then the unconditional half is not computed.",
    )


class LoRAConfig(FrozenConfig):
    """Trainable part of the policy, low-rank updates of the UNet's attention projections."""

    rank: int = Field(
        ge=1, le=1024, description="Rank r of each low-rank update; its alpha is always r."
    )


class NetworkOptions(FrozenConfig):
    """How the networks use the device, which changes nothing that is computed but the rounding."""

    compile: bool = Field(
        default=False,
        description="Whether to compile the UNet with torch.compile, which takes minutes once and "
        "is faster afterwards. Training stops where the compiled kernels round too coarsely for "
        "the ratio's clip.",
    )
    channels_last: bool = Field(
        default=False,
        description="Whether to keep convolutions in channels-last memory order, which tensor "
        "cores prefer. It is guarded like `compile`.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Whether to recompute activations in the backward pass, which costs one more "
        "forward pass per row and needs a fraction of the memory.",
    )


PLAIN = NetworkOptions()
