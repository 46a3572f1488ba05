"""Typed parameters of DPOK. Defaults are the official single-prompt run's where it has one."""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.diffusion.config import KLForm, LogProbReading, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.config import OnlineConfig

logger = logging.getLogger(__name__)

Baseline = Literal["value_function", "none", "prompt_mean", "group_mean"]
"""What is subtracted from an image's reward: V(x_t, prompt, t), nothing, or the mean reward of the
buffer's images of the same prompt."""

AdvantageScale = Literal["none", "group", "prompt"]
"""What the advantage is divided by: nothing, the standard deviation of the rewards of the buffer's
images of the same prompt, or that of all of the prompt's rewards since the run began."""

RowDraw = Literal["random", "epochs", "whole_images"]

StepWeights = Literal["none", "inverse_gain"]
"""What a row's policy term is multiplied by: nothing, or 1 / g of its denoising step. g is the
factor of the predicted noise in the step's mean, over the step's standard deviation."""

ClipRule = Literal["clamp", "ppo_minimum"]


class ValueConfig(FrozenConfig):
    """The value function V(x_t, prompt, t) and its own AdamW."""

    hidden_size: int = Field(default=256, ge=1, description="Width of its three hidden layers.")
    learning_rate: float = Field(
        default=1e-4, gt=0, description="Learning rate of the value function's AdamW."
    )
    weight_decay: float = Field(
        default=1e-2, ge=0, description="Weight decay of the value function's AdamW."
    )
    updates_per_iteration: int = Field(
        default=1, ge=1, description="Optimiser steps per iteration."
    )
    minibatches_per_update: int = Field(
        default=5, ge=1, description="Minibatches whose gradients one optimiser step averages."
    )
    minibatch: int = Field(default=256, ge=1, description="Transitions per minibatch.")


class DPOKConfig(OnlineConfig):
    """Algorithm 1 with the importance ratio and the value function of appendices A.5 and A.6."""

    updates_per_iteration: int = Field(
        default=5, ge=1, description="Policy optimiser steps per iteration."
    )
    transitions_per_update: int | None = Field(
        default=48,
        ge=1,
        description="Rows (transitions) per policy update; null: as many as there are, spread over "
        "an iteration's updates, so that with `epochs` each row is used once.",
    )
    rows: RowDraw = Field(
        default="random",
        description="Which rows an update takes: `random` ones (official code); those that come "
        "next in `epochs`, in which every row of the buffer comes once; or all steps of some "
        "`whole_images` (paper, equation 9), as many as transitions_per_update holds.",
    )
    step_weights: StepWeights = Field(
        default="none",
        description="Factor of the policy term by denoising step: `none` (official code, paper), "
        "or the `inverse_gain`, with which every step weighs the same in the gradient with respect "
        "to the predicted noise.",
    )
    last_steps_left_out: int = Field(
        default=0,
        ge=0,
        description="Number of last denoising steps whose rows no update takes. Their noise hardly "
        "changes an image, and their log-probabilities round the most.",
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
        description="Whether ε is used as it stands with the summed reading too, where a tiny one "
        "clips nearly every row; this warns.",
    )
    clip_rule: ClipRule = Field(
        default="clamp",
        description="Either `clamp` the ratio (official code), or take PPO's pessimistic "
        "`ppo_minimum`.",
    )
    log_prob: LogProbReading = Field(
        default="mean",
        description="Whether the log-probability is averaged over the latent (official code) or "
        "summed (paper).",
    )
    kl_form: KLForm = Field(
        default="noise_mse",
        description="Mean squared noise difference (official code) or the `gaussian` KL (paper).",
    )
    recompute_log_probs: bool = Field(
        default=False,
        description="Whether old log-probabilities are recomputed in microbatches like the "
        "updates', for half precision on a GPU, where `policy/fresh_log_ratio` would come near "
        "the clip; it costs a forward pass more per row.",
    )
    baseline: Baseline = Field(
        default="value_function",
        description="What is subtracted from the reward: a `value_function`, `none`, or the "
        "`prompt_mean` of the buffer's rewards, or their `group_mean`.",
    )
    advantage_scale: AdvantageScale = Field(
        default="none",
        description="What the advantage is divided by: `none`, the standard deviation of the "
        "`group` (the buffer's images of the same prompt), or that of the `prompt` over the whole "
        "run.",
    )
    value: ValueConfig = Field(
        default=ValueConfig(), description="Size and training of the value function."
    )
    max_grad_norm: float = Field(
        default=0.1, gt=0, description="Norm that the policy's gradient is clipped to."
    )

    def check(self, sampling: SamplingConfig, prompts: int) -> None:
        """Check what only the combination of parameters shows, before any work.

        Args:
            sampling: How the rollouts are drawn.
            prompts: Number of training prompts.

        Raises:
            InputError: Sampling has no randomness, no step is left to learn from, or most
                advantages would be exactly 0.
        """
        if sampling.eta == 0:
            raise InputError("sampling: eta is 0, a policy without randomness; set it to 1")
        if self.last_steps_left_out >= sampling.ddim_steps:
            raise InputError(
                f"rl_training.last_steps_left_out is {self.last_steps_left_out}, of "
                f"{sampling.ddim_steps} sampling.ddim_steps; leave some for the updates"
            )
        if self.log_prob == "sum" and self.literal_ratio_clip:
            logger.warning(
                "ratio_clip %g is taken literally with summed log-probabilities, where it clips "
                "nearly every row; literal_ratio_clip: false scales it to the latent",
                self.ratio_clip,
            )
        field = "baseline" if self.baseline == "prompt_mean" else "advantage_scale"
        self._check_lone_images(
            self.zero_advantages(prompts),
            prompts,
            consequence=f"of the advantages are exactly 0 with {field} {getattr(self, field)}",
            remedy=f"draw more images, or choose another {field}",
        )

    def zero_advantages(self, prompts: int) -> float:
        """Return the share of advantages that are 0 because an image has none to compare with.

        A lone image's reward is its prompt's mean, and has no spread.

        Args:
            prompts: Number of training prompts.
        """
        if self.baseline != "prompt_mean" and self.advantage_scale != "group":
            return 0.0
        return self.lone_images(prompts, self.buffer_rollouts)
