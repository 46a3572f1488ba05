"""Typed parameters of sampling and of the LoRA policy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dpok_pipeline.config import FrozenConfig

Precision = Literal["float32", "bfloat16", "float16"]
"""What the networks compute in; latents, log-probabilities and LoRA weights stay float32."""

LogProbReading = Literal["mean", "sum"]
"""Over the latent: averaged as in the official code, or summed as in the paper."""

KLForm = Literal["noise_mse", "gaussian"]
"""The official code's mean squared noise difference, or the paper's Gaussian KL."""


class SamplingConfig(FrozenConfig):
    """How images are drawn: the same in rollouts, SFT data and evaluation."""

    ddim_steps: int = Field(ge=1, le=1000, description="Denoising steps per image (T).")
    eta: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="DDIM's η, a factor on the step noise: 1 is the policy that DPOK trains, 0 is "
        "deterministic and has no log-probability.",
    )
    guidance_scale: float = Field(
        ge=1.0,
        description="Weight of the prompt in classifier-free guidance; 1 means no guidance, and "
        "then the unconditional half is not computed.",
    )


class LoRAConfig(FrozenConfig):
    """The policy's trainable part: low-rank updates of the UNet's attention projections."""

    rank: int = Field(ge=1, le=1024, description="Rank r of each update; alpha is always r.")


class NetworkOptions(FrozenConfig):
    """How the networks use the device; none of it changes what is computed, but for rounding."""

    compile: bool = Field(
        default=False,
        description="Compile the UNet with torch.compile: minutes once, then faster. Training "
        "stops where the compiled kernels round too coarsely for the ratio's clip.",
    )
    channels_last: bool = Field(
        default=False,
        description="Keep convolutions in channels-last memory order, which tensor cores prefer; "
        "guarded as `compile` is.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations in the backward pass: a forward pass more per row, a "
        "fraction of the memory.",
    )


PLAIN = NetworkOptions()
