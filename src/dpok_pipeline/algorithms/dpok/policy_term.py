"""The policy-gradient term of the loss: importance ratio, clip, and weights of denoising steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.config import ClipRule, StepWeights

# Of float32, exp overflows from 88.7 on. Far outside any band that a ratio is clipped to.
_LARGEST_LOG_RATIO = 80.0


class PolicyTerm(NamedTuple):
    """The policy-gradient term before its weight α.

    Attributes:
        loss: `(b,)`, differentiable.
        log_ratio: `(b,)`, detached.
        clipped: Rows whose gradient the clip removes, `(b,)` bool.
    """

    loss: Tensor
    log_ratio: Tensor
    clipped: Tensor


def policy_term(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    band: tuple[float, float],
    rule: ClipRule,
) -> PolicyTerm:
    """Compute −A·ρ with the importance ratio ρ clipped (paper, equation 26).

    `clamp` is the official code: outside the band the gradient is zero, even where it would pull
    the ratio back. `ppo_minimum` is PPO's: the gradient is zero only where it would push the
    ratio further out.

    Args:
        log_prob: Log-probability under the policy that is trained, `(b,)`.
        old_log_prob: That under the policy that sampled, `(b,)`.
        advantage: A = r − baseline, `(b,)`.
        band: Lowest and highest ratio, see `clip_band`.
        rule: Which clip.
    """
    log_ratio = log_prob - old_log_prob
    # Summed over a latent it can be hundreds, and the gradient of an infinite ρ would be NaN.
    ratio = log_ratio.clamp(max=_LARGEST_LOG_RATIO).exp()
    clamped = ratio.clamp(*band)
    outside = ratio != clamped
    if rule == "clamp":
        return PolicyTerm(-advantage * clamped, log_ratio.detach(), outside)
    loss = torch.maximum(-advantage * ratio, -advantage * clamped)
    pushing_out = (advantage > 0) == (ratio > clamped)
    return PolicyTerm(loss, log_ratio.detach(), outside & pushing_out)


def step_weights(gain: Tensor, rule: StepWeights, last_left_out: int = 0) -> Tensor:
    """Return the factor of each denoising step's policy terms, `(steps,)`.

    With w_i of step i the updates ascend Σ w_i·J_i, where J_i is the expected reward if the policy
    draws step i and the one that sampled draws all others. The true gradient has w = 1.
    `inverse_gain` takes w_i ∝ 1/g_i, so that no step decides the direction by its scale alone (as
    PCPO does, arXiv 2509.25774).

    Args:
        gain: g of each step, `(steps,)`, see `DDIMTransitions.gain`.
        rule: Which weights.
        last_left_out: Number of last steps whose rows are not taken; over the others the mean
            weight is 1, so that the reward keeps its weight against the KL.
    """
    if rule == "none":
        return torch.ones_like(gain)
    inverse = 1 / gain
    return inverse / inverse[: len(gain) - last_left_out].mean()


def clip_band(
    ratio_clip: float, latent_size: int, summed: bool, literal: bool
) -> tuple[float, float]:
    """Return the lowest and highest importance ratio.

    The averaged log-probability's ratio is the `latent_size`-th root of the true one, so its
    band 1 ± ε is a band of ±ε · latent_size on the true log-ratio.

    Args:
        ratio_clip: ε.
        latent_size: Number of values in a latent.
        summed: Whether log-probabilities are summed.
        literal: Whether ε is taken as it stands for the summed reading too.
    """
    if summed and not literal:
        width = torch.tensor(ratio_clip * latent_size, dtype=torch.float64)
        return (float((-width).exp()), float(width.exp()))
    return (1 - ratio_clip, 1 + ratio_clip)
