"""Advantages: what an image's reward is compared with, and in which unit.

A = (r − baseline) · scale. The baseline is V(x_t, prompt, t), the mean reward of the prompt over
the buffer, or 0. The scale is 1, or one over a standard deviation σ (population form, so that one
image has σ = 0):

* `group`: σ of the rewards of the buffer's images of the same prompt;
* `prompt`: σ of all rewards that the prompt has had since the run began. A prompt with fewer than
  `FEWEST_REWARDS` of them takes σ of all rewards in the buffer instead.

The scale is 1 / (σ + `EPSILON`), and 0 where σ is nothing but rounding: where all rewards are
equal there is nothing to prefer, and a division would blow rounding up to a preference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer, Transitions
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.value import Critic
from dpok_pipeline.training.scoring import averages_by_prompt, has_spread

EPSILON = 1e-6
FEWEST_REWARDS = 8


class Advantages:
    """The advantage of any row of the buffer, measured anew after each rollout."""

    def __init__(self, config: DPOKConfig, prompts: int, critic: Critic | None) -> None:
        """Start before the first rollout.

        Args:
            config: Says which baseline and which scale.
            prompts: Number of training prompts.
            critic: The value function; None unless it is the baseline.
        """
        self.config, self.critic = config, critic
        self.history = PromptHistory(prompts)
        self._means = self._scales = torch.empty(0)

    def measure(self, buffer: TransitionBuffer) -> None:
        """Take up the newest rollout's rewards.

        Args:
            buffer: Holds the rollout, already among those that its images are compared with.
        """
        rewards = buffer.rewards.flatten()  # (rollouts · images,)
        prompts = buffer.prompts.flatten()  # the same places; empty slots share prompt −1
        if self.config.baseline == "group_mean":
            prompts = torch.arange(len(prompts), device=prompts.device) // self.config.group_size
        weights = averages_by_prompt(prompts)
        # A lone image's row holds a single 1, so that r − mean is exactly 0.
        self._means = weights @ rewards  # (rollouts · images,)
        if self.config.advantage_scale == "group":
            spread = (weights @ (rewards - self._means).square()).sqrt()
            self._scales = _one_over(spread, rewards)
        if self.config.advantage_scale == "prompt":
            newest = buffer.newest_slot
            self.history.add(buffer.prompts[newest], buffer.rewards[newest])
            # Without the empty places of a buffer that is not full yet.
            held = rewards[prompts >= 0]
            spread = self.history.spread(prompts.cpu(), otherwise=float(held.std(correction=0)))
            self._scales = _one_over(spread.to(rewards.device), rewards)

    def __call__(self, rows: Transitions) -> Tensor:
        """Return A of each row, `(b,)`."""
        advantage = rows.reward
        if self.critic is not None:
            advantage = advantage - self.critic(rows)  # of the row: V depends on x_t and t
        elif self.config.baseline in ("prompt_mean", "group_mean"):
            advantage = advantage - self._means[rows.image]  # of the image: (b,) out of all
        if self.config.advantage_scale != "none":
            advantage = advantage * self._scales[rows.image]
        return advantage

    def state_dict(self) -> dict[str, Any]:
        """Return what the buffer does not hold, for a checkpoint."""
        return self.history.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.history.load_state_dict(state)


class PromptHistory:
    """Number, mean and spread of every reward that each prompt has had (Welford's method)."""

    def __init__(self, prompts: int) -> None:
        self.count = torch.zeros(prompts, dtype=torch.int64)
        self.mean = torch.zeros(prompts, dtype=torch.float64)
        self.squares = torch.zeros(prompts, dtype=torch.float64)  # Σ (r − mean)²

    def add(self, prompts: Tensor, rewards: Tensor) -> None:
        """Take up a rollout.

        Args:
            prompts: Indices into the training prompts, `(n,)` int64.
            rewards: `(n,)`.
        """
        for prompt, reward in zip(prompts.tolist(), rewards.tolist(), strict=True):
            self.count[prompt] += 1
            # One pass without a difference of large sums, whose digits would cancel.
            difference = reward - self.mean[prompt]
            self.mean[prompt] += difference / self.count[prompt]
            self.squares[prompt] += difference * (reward - self.mean[prompt])

    def spread(self, prompts: Tensor, otherwise: float) -> Tensor:
        """Return the standard deviation of each prompt's rewards, `(n,)` float32 on the CPU.

        Args:
            prompts: Indices into the training prompts, `(n,)` int64 on the CPU; −1 for an empty
                place.
            otherwise: What stands for a prompt that has had too few rewards.
        """
        known = self.count[prompts] >= FEWEST_REWARDS
        spread = (self.squares / self.count.clamp(min=1)).sqrt()[prompts].float()
        return torch.where(known, spread, otherwise)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]


def _one_over(spread: Tensor, rewards: Tensor) -> Tensor:
    """Return 1 / (σ + ε), and 0 where σ is nothing but rounding."""
    return torch.where(has_spread(spread, rewards), 1 / (spread + EPSILON), 0.0)
