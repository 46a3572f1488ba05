"""The arithmetic of DPOK's and SFT's losses, one value per row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.training.config import ClipRule, SFTRegularisation


class PolicyTerm(NamedTuple):
    """The policy-gradient term before its weight α.

    Attributes:
        loss: `(b,)`, differentiable.
        log_ratio: `(b,)`, detached.
        clipped: `(b,)` bool, rows whose gradient the clip removes.
    """

    loss: Tensor
    log_ratio: Tensor
    clipped: Tensor


def clip_band(
    ratio_clip: float, latent_size: int, summed: bool, literal: bool
) -> tuple[float, ...]:
    """Lowest and highest importance ratio.

    The averaged log-probability's ratio is the `latent_size`-th root of the true one, so its
    band 1 ± ε is a band of ±ε · latent_size on the true log-ratio.

    Args:
        ratio_clip: ε.
        latent_size: number of values in a latent.
        summed: whether log-probabilities are summed.
        literal: take ε as it stands for the summed reading too.
    """
    if summed and not literal:
        width = torch.tensor(ratio_clip * latent_size, dtype=torch.float64)
        return (float((-width).exp()), float(width.exp()))
    return (1 - ratio_clip, 1 + ratio_clip)


def policy_term(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    band: tuple[float, ...],
    rule: ClipRule,
) -> PolicyTerm:
    """−A·ρ with the importance ratio ρ clipped (paper, equation 26).

    `clamp` is the official code: outside the band the gradient is zero, even where it would pull
    the ratio back. `ppo_minimum` is PPO's: the gradient is zero only where it would push the
    ratio further out.

    Args:
        log_prob: `(b,)`, of the policy being trained.
        old_log_prob: `(b,)`, of the policy that sampled.
        advantage: `(b,)`, A = r − baseline.
        band: lowest and highest ratio, see `clip_band`.
        rule: which clip.
    """
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    clamped = ratio.clamp(*band)
    outside = ratio != clamped
    if rule == "clamp":
        return PolicyTerm(-advantage * clamped, log_ratio.detach(), outside)
    loss = torch.maximum(-advantage * ratio, -advantage * clamped)
    pushing_out = (advantage > 0) == (ratio > clamped)
    return PolicyTerm(loss, log_ratio.detach(), outside & pushing_out)


def sft_weights(rewards: Tensor, shift: float, regularisation: SFTRegularisation) -> Tensor:
    """Each image's weight on its data term (paper, Algorithm 2), never negative (appendix B).

    Args:
        rewards: `(b,)`.
        shift: γ.
        regularisation: KL-D weighs by max(r + γ, 0); KL-O by max(r, 0), with γ outside.
    """
    shifted = rewards + shift if regularisation == "kl_d" else rewards
    return shifted.clamp(min=0)


def sft_loss(
    error: Tensor,
    reference_error: Tensor | None,
    weights: Tensor,
    shift: float,
    time_weights: Tensor,
) -> Tensor:
    """SFT's loss per row: weight · ‖ε − ε_θ‖² (+ γ · ‖ε_pre − ε_θ‖² for KL-O).

    Args:
        error: `(b,)`, mean squared noise error.
        reference_error: `(b,)`, mean squared difference to the base model, or None for KL-D.
        weights: `(b,)`, see `sft_weights`.
        shift: γ.
        time_weights: `(b,)`, 1 or `x0_weights`.
    """
    loss = weights * error
    if reference_error is not None:
        loss = loss + shift * reference_error
    return time_weights * loss


def x0_weights(alphas_cumprod: Tensor, betas: Tensor) -> Tensor:
    """What turns ‖ε − ε_θ‖² into the paper's ‖x_0 − f_θ‖² / (2σ_t²), for every time.

    x̂_0 = (x_t − sqrt(1 − ᾱ)·ε)/sqrt(ᾱ), so ‖x_0 − f_θ‖² = (1 − ᾱ)/ᾱ · ‖ε − ε_θ‖². σ_t² is β_t,
    the larger of the two usual choices for the reverse process: the other is 0 at the last step.

    Args:
        alphas_cumprod: ᾱ, `(times,)`.
        betas: `(times,)`.

    Returns:
        `(times,)`, from 0.5 at the first time to thousands at the last.
    """
    return (1 - alphas_cumprod) / alphas_cumprod / (2 * betas)
