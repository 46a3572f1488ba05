"""Typed parameters of SFT, the paper's Algorithm 2."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dpok_pipeline.config import BOOKKEEPING, LENGTH
from dpok_pipeline.training.config import TrainingConfig

SFTRegularisation = Literal["kl_d", "kl_o"]
SFTLoss = Literal["epsilon", "x0"]


class SFTConfig(TrainingConfig):
    """Algorithm 2: reward-weighted supervised fine-tuning on images of the base model."""

    updates: int = Field(
        ge=1, json_schema_extra=LENGTH, description="Number of optimiser steps in all."
    )
    rows_per_update: int = Field(default=128, ge=1, description="Images per update (n).")
    microbatch: int = Field(
        default=128,
        ge=1,
        description="Rows that go through the network at once; halved when memory runs out. It "
        "changes rounding only.",
    )
    regularisation: SFTRegularisation = Field(
        default="kl_o",
        description="How γ regularises: `kl_d` adds it to every image's weight, `kl_o` pulls to "
        "the base model by it.",
    )
    sft_shift: float = Field(
        default=2.0, ge=0, description="γ, the strength of the regularisation."
    )
    loss: SFTLoss = Field(
        default="epsilon",
        description="Either `epsilon`, the usual noise regression, or `x0`, the paper's squared "
        "error of the predicted image over 2σ².",
    )
    learning_rate: float = Field(
        default=2e-5, gt=0, description="Learning rate of the LoRA's AdamW."
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay of the LoRA's AdamW.")
    log_every: int = Field(
        default=10,
        ge=1,
        json_schema_extra=BOOKKEEPING,
        description="Updates between logged metrics.",
    )
