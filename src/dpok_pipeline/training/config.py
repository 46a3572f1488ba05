"""Typed parameters of training and of the SFT data.

The paper's symbols: α `reward_weight`, β `kl_weight`, γ `sft_shift`, m `images_per_iteration`,
ε `ratio_clip`. Defaults are the official single-prompt run's where it has one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.diffusion.config import KLForm, LogProbReading

Baseline = Literal["value_function", "none", "prompt_mean"]
ClipRule = Literal["clamp", "ppo_minimum"]
SFTRegularisation = Literal["kl_d", "kl_o"]
SFTLoss = Literal["epsilon", "x0"]
Resume = Literal["auto", "never"]


class CheckpointConfig(FrozenConfig):
    """When training saves its state, and when it gives up. Nothing here changes a number."""

    checkpoint_minutes: float | None = Field(
        default=2.0, gt=0, description="Minutes between checkpoints; null: by steps alone."
    )
    checkpoint_every: int | None = Field(
        default=None,
        ge=1,
        description="DPOK's iterations or SFT's updates between checkpoints, besides those by "
        "time; null: none. The end of a run always has one.",
    )
    checkpoints_kept: int = Field(
        default=2, ge=1, description="Checkpoints that are kept, the newest ones."
    )
    stop_after_skipped: int = Field(
        default=20,
        ge=1,
        description="Updates in a row that are skipped, because a loss, reward or gradient is not "
        "finite, after which the run stops.",
    )


class ValueConfig(FrozenConfig):
    """The value function V(x_t, prompt, t) and its own AdamW."""

    hidden_size: int = Field(default=256, ge=1, description="Width of its three hidden layers.")
    learning_rate: float = Field(default=1e-4, gt=0, description="AdamW's learning rate.")
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's weight decay.")
    updates_per_iteration: int = Field(
        default=1, ge=1, description="Optimiser steps per iteration."
    )
    minibatches_per_update: int = Field(
        default=5, ge=1, description="Minibatches whose gradients one optimiser step averages."
    )
    minibatch: int = Field(default=256, ge=1, description="Transitions per minibatch.")


class DPOKConfig(CheckpointConfig):
    """Algorithm 1 with the importance ratio and the value function of appendices A.5 and A.6."""

    seed: int = Field(default=0, ge=0, description="Of LoRA, rollout noise, prompts and rows.")
    iterations: int = Field(ge=1, description="Outer loops: one rollout and its updates each.")
    images_per_iteration: int = Field(default=10, ge=1, description="Images per rollout (m).")
    rollout_batch: int = Field(
        default=64, ge=1, description="Images sampled at once; halved when memory runs out."
    )
    updates_per_iteration: int = Field(
        default=5, ge=1, description="Policy optimiser steps per iteration."
    )
    transitions_per_update: int = Field(
        default=48, ge=1, description="Rows (transitions) per policy update, drawn at random."
    )
    microbatch: int = Field(
        default=48,
        ge=1,
        description="Rows through the network at once; halved when memory runs out. It changes "
        "rounding only.",
    )
    buffer_rollouts: int = Field(
        default=2, ge=1, description="Rollouts that rows are drawn from, the newest ones."
    )
    reward_weight: float = Field(default=10.0, ge=0, description="α, factor of the policy term.")
    kl_weight: float = Field(default=0.01, ge=0, description="β, factor of the KL term.")
    ratio_clip: float = Field(
        default=1e-4,
        gt=0,
        lt=1,
        description="ε, half-width of the importance ratio's band, for the averaged "
        "log-probability; the summed reading widens it by the number of latent values.",
    )
    literal_ratio_clip: bool = Field(
        default=False,
        description="Use ε as it stands with the summed reading too, where a tiny one clips "
        "nearly every row; warns.",
    )
    clip_rule: ClipRule = Field(
        default="clamp",
        description="`clamp` the ratio (official code), or PPO's pessimistic `ppo_minimum`.",
    )
    log_prob: LogProbReading = Field(
        default="mean", description="Averaged over the latent (official code) or summed (paper)."
    )
    kl_form: KLForm = Field(
        default="noise_mse",
        description="Mean squared noise difference (official code) or the `gaussian` KL (paper).",
    )
    recompute_log_probs: bool = Field(
        default=False,
        description="Recompute old log-probabilities in microbatches like the updates', for half "
        "precision on a GPU, where `policy/fresh_log_ratio` would come near the clip; a forward "
        "pass more per row.",
    )
    baseline: Baseline = Field(
        default="value_function", description="What is subtracted from the reward."
    )
    value: ValueConfig = Field(default=ValueConfig(), description="The value function's training.")
    learning_rate: float = Field(default=1e-5, gt=0, description="The policy AdamW's.")
    weight_decay: float = Field(
        default=0.0, ge=0, description="The policy AdamW's; 0 in the official code."
    )
    max_grad_norm: float = Field(
        default=0.1, gt=0, description="Norm that the policy's gradient is clipped to."
    )
    alarm_deviations: float | None = Field(
        default=3.0,
        gt=0,
        description="Standard deviations, over the images of the first rollout, by which a "
        "rollout's mean may leave theirs before an alarm rings; null: no alarms.",
    )
    log_images_every: int = Field(
        default=100, ge=1, description="Iterations between logged sample images."
    )


class SFTConfig(CheckpointConfig):
    """Algorithm 2: reward-weighted supervised fine-tuning on images of the base model."""

    seed: int = Field(default=0, ge=0, description="Of LoRA, rows, times and noise.")
    updates: int = Field(ge=1, description="Optimiser steps.")
    rows_per_update: int = Field(default=128, ge=1, description="Images per update (n).")
    microbatch: int = Field(
        default=128,
        ge=1,
        description="Rows through the network at once; halved when memory runs out.",
    )
    regularisation: SFTRegularisation = Field(
        default="kl_o",
        description="`kl_d` adds γ to every image's weight, `kl_o` pulls to the base model by γ.",
    )
    sft_shift: float = Field(default=2.0, ge=0, description="γ.")
    loss: SFTLoss = Field(
        default="epsilon",
        description="`epsilon`: the usual noise regression; `x0`: the paper's squared error of "
        "the predicted image over 2σ².",
    )
    learning_rate: float = Field(default=2e-5, gt=0, description="AdamW's learning rate.")
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Norm that the gradient is clipped to."
    )
    log_every: int = Field(default=10, ge=1, description="Updates between logged metrics.")


class GenerationConfig(FrozenConfig):
    """The SFT data: images of the frozen base model with their rewards."""

    seed: int = Field(default=0, ge=0, description="Of the images' noise.")
    images: int = Field(ge=1, description="Images in all (M), spread evenly over the prompts.")
    shard_size: int = Field(default=256, ge=1, description="Images per shard.")
    batch_size: int = Field(
        default=64, ge=1, description="Images sampled at once; halved when memory runs out."
    )
