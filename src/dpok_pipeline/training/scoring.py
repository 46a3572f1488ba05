"""Rewards of a batch of images: checked, compared, and what is said where they are unusable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.diffusion.sampler import are_finite
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.scorer import Scorer, ask, scorer_name

_SHOWN = 60  # characters of a prompt in a message
# A standard deviation below this share of the largest reward is float32's rounding.
_ROUNDING = 1e-6


class NoFiniteReward(InputError):
    """A reward gave no finite number for any image of a batch."""


class Scores(NamedTuple):
    """Rewards of a batch.

    Attributes:
        rewards: `(n,)` float32 on the images' device, all finite.
        scored: `(n,)` bool, whether an image's own reward was finite; the other images have the
            mean of their prompt's.
    """

    rewards: Tensor
    scored: Tensor

    @property
    def unscored(self) -> int:
        """Number of images without a finite reward of their own."""
        return int((~self.scored).sum())


def score_rewards(reward: Scorer, images: Tensor, prompts: Sequence[str]) -> Scores:
    """Score a batch; an image without a finite reward gets the mean of its prompt's others.

    Args:
        reward: The scorer; it is called for parts of the batch when memory runs out.
        images: `(n, 3, H, W)` in [0, 1].
        prompts: n texts.

    Raises:
        InputError: The scorer failed or gave another shape, or does not fit in memory.
        NoFiniteReward: It gave no finite number at all.
    """
    return fill_missing(ask_in_parts(reward, images, prompts), reward, prompts)


@torch.no_grad()
def ask_in_parts(reward: Scorer, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Score a batch, and leave what is not finite as it is; `(n,)` on the images' device.

    An image that is not finite itself has no reward, whatever the scorer makes of it.

    Args:
        reward: The scorer; it is called for parts of the batch when memory runs out.
        images: `(n, 3, H, W)` in [0, 1].
        prompts: n texts.

    Raises:
        InputError: The scorer failed or gave another shape, or does not fit in memory.
    """
    count = len(prompts)
    scores = in_parts(
        lambda part: ask(reward, images[part], prompts[part]).to(images.device),
        count,
        count,
        f"scoring images by {scorer_name(reward)} on {images.device}",
    )
    return torch.where(are_finite(images), scores, torch.nan)


def fill_missing(scores: Tensor, reward: Scorer, prompts: Sequence[str]) -> Scores:
    """Give images without a finite reward the mean of their prompt's others.

    Rewards of different prompts are not comparable: by a mean over all, an image of a difficult
    prompt would be the best of its own. Where a prompt has no finite reward at all, its images have
    the mean over all, so that none of them is preferred to another.

    Args:
        scores: What the scorer gave, `(n,)`.
        reward: The scorer, for messages.
        prompts: n texts.

    Raises:
        NoFiniteReward: No score is finite.
    """
    finite = torch.isfinite(scores)
    if not finite.any():
        raise NoFiniteReward(
            f"reward {scorer_name(reward)} gave no finite score for {_quoted(prompts)}; check its "
            "model files"
        )
    filled = scores.clone()
    for text in {text for text, known in zip(prompts, finite.tolist(), strict=True) if not known}:
        same = torch.tensor([one == text for one in prompts], device=scores.device)
        known = scores[same & finite]
        filled[same & ~finite] = (known if len(known) else scores[finite]).mean()
    return Scores(filled, finite)


def not_finite(reward: str, rewards: Tensor, prompts: Sequence[str]) -> str:
    """Say what stands behind a loss or gradient that is not finite.

    Args:
        reward: The scorer's name.
        rewards: Those that were trained on, `(n,)` on the CPU.
        prompts: n texts.
    """
    extreme = int(rewards.abs().argmax())
    return (
        f"loss or gradient was not finite (largest reward {float(rewards[extreme]):.3g}, by "
        f"{reward} for prompt {prompts[extreme][:_SHOWN]!r})"
    )


def check_prompts(prompts: Sequence[str]) -> None:
    """Check that there is something to train on.

    Raises:
        InputError: There is no prompt, or an empty one.
    """
    if not prompts:
        raise InputError("no training prompts; run prompt_preparation, or name an experiment")
    if any(not prompt.strip() for prompt in prompts):
        raise InputError("a training prompt is empty; remove it from the prompt source")


def _quoted(prompts: Sequence[str]) -> str:
    different = list(dict.fromkeys(prompts))
    more = f" and {len(different) - 1} other prompts" if len(different) > 1 else ""
    return f"prompt {different[0][:_SHOWN]!r}{more}"


def reward_metrics(rewards: Tensor) -> dict[str, Tensor]:
    """Return the metrics of a rollout's rewards, `(n,)`, as device scalars.

    `low` and `high` are the mean's 95 % interval over the images; of a single one it is a point.
    """
    count, mean = len(rewards), rewards.mean()
    std = rewards.std(correction=0)  # 0 for a single image, not NaN
    # The standard error of the mean is s/√n, where s = std · √(n/(n − 1)).
    half = std * (_t_quantile(count - 1) / math.sqrt(count - 1) if count > 1 else 0.0)
    return {
        "reward/mean": mean,
        "reward/low": mean - half,
        "reward/high": mean + half,
        "reward/std": std,
        "reward/min": rewards.min(),
        "reward/max": rewards.max(),
    }


def _t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, within 1 % from 3 degrees of freedom on.

    It is the expansion about the normal quantile in powers of one over the degrees of freedom
    (Abramowitz and Stegun, 26.7.5), which needs no library.
    """
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return float(z + first / freedom + second / freedom**2 + third / freedom**3)


def averages_by_prompt(prompts: Tensor) -> Tensor:
    """Return the matrix whose row i, times a column of values, averages those of i's prompt.

    Args:
        prompts: Index of each image's prompt, `(n,)` int64.

    Returns:
        `(n, n)` float32, each row summing to 1.
    """
    same = (prompts[:, None] == prompts[None, :]).float()  # (n, n), 1 for images of one prompt
    return same / same.sum(1, keepdim=True)


def has_spread(deviation: Tensor, rewards: Tensor) -> Tensor:
    """Return whether standard deviations are more than the rounding of rewards of this size.

    Args:
        deviation: Standard deviations, of any shape.
        rewards: What they are of.
    """
    return deviation > _ROUNDING * rewards.abs().max()
