"""Weights of a rollout's images: larger where the reward is better than the prompt's others."""

from __future__ import annotations

import torch
from torch import Tensor

from dpok_pipeline.training.scoring import averages_by_prompt, has_spread


def image_weights(rewards: Tensor, prompts: Tensor, temperature: float) -> Tensor:
    """Return w = n · softmax((r − mean) / (τ · σ)) over a rollout's n images; their mean is 1.

    The mean is that of the rewards of the same prompt, so that an easy prompt's images do not take
    all the weight; σ is the rollout's standard deviation around these means. Both make τ mean the
    same for every reward model and throughout a run: exp(r / τ), the other usual choice, needs
    another τ for every reward's scale, and weighs all images alike once a run has narrowed them.

    Args:
        rewards: `(n,)` float32.
        prompts: Index of each image's prompt, `(n,)` int64 on the CPU.
        temperature: τ.

    Returns:
        `(n,)` on the rewards' device; 1 everywhere where all rewards of every prompt are equal.
    """
    advantages = rewards - averages_by_prompt(prompts).to(rewards.device) @ rewards  # (n,)
    spread = advantages.square().mean().sqrt()
    # A spread that is nothing but rounding would be blown up to a preference.
    scores = torch.where(has_spread(spread, rewards), advantages / (temperature * spread), 0.0)
    return len(rewards) * torch.softmax(scores, dim=0)


def effective_share(weights: Tensor) -> Tensor:
    """Return the share of images that count, (Σw)² / (n · Σw²): 1 where all weigh alike.

    Args:
        weights: `(n,)`.
    """
    return weights.sum().square() / (len(weights) * weights.square().sum())
