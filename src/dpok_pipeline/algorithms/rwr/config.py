"""Typed parameters of online reward-weighted regression."""

from __future__ import annotations

from pydantic import Field

from dpok_pipeline.algorithms.sft.config import SFTLoss
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.training.config import OnlineConfig


class RWRConfig(OnlineConfig):
    """Online reward-weighted regression, anchored to the base model as SFT's KL-O is."""

    temperature: float = Field(
        default=1.0,
        gt=0,
        description="τ of the softmax over a rollout's rewards, in standard deviations of them: "
        "a small one learns from the best images alone, a large one from all alike.",
    )
    sft_shift: float = Field(
        default=0.1,
        ge=0,
        description="γ, weight of the squared distance to the base model's noise prediction, "
        "beside image weights of mean 1.",
    )
    loss: SFTLoss = Field(
        default="epsilon",
        description="Either `epsilon`, the usual noise regression, or `x0`, the squared error of "
        "the predicted image over 2σ².",
    )
    updates_per_iteration: int = Field(
        default=10, ge=1, description="Optimiser steps per iteration."
    )
    rows_per_update: int = Field(
        default=64,
        ge=1,
        description="Images of the newest rollout per update, drawn with replacement, each with a "
        "time and noise of its own.",
    )
    learning_rate: float = Field(
        default=2e-5, gt=0, description="Learning rate of the LoRA's AdamW."
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay of the LoRA's AdamW.")

    def check(self, sampling: SamplingConfig, prompts: int) -> None:
        """Check what only the combination of parameters shows, before any work.

        Args:
            sampling: How the rollouts are drawn.
            prompts: Number of training prompts.

        Raises:
            InputError: Most weights would not depend on the reward.
        """
        self._check_lone_images(
            self.lone_images(prompts),
            prompts,
            consequence="of the weights do not depend on the reward",
            remedy="or draw more images",
        )
