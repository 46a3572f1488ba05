"""Checks on what comes from outside while training runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.config import CheckpointConfig, DPOKConfig

logger = logging.getLogger(__name__)

_SHOWN = 60  # characters of a prompt in a message


class NoFiniteReward(InputError):
    """A reward gave no finite number for any image of a batch."""


class Scores(NamedTuple):
    """Rewards of a batch.

    Attributes:
        rewards: `(n,)` float32 on the images' device, all finite.
        scored: `(n,)` bool, images whose own reward was; the others have the mean of these.
    """

    rewards: Tensor
    scored: Tensor

    @property
    def unscored(self) -> int:
        """Images without a finite reward of their own."""
        return int((~self.scored).sum())


@torch.no_grad()
def score_images(reward: Scorer, images: Tensor, prompts: Sequence[str]) -> Scores:
    """Rewards of a batch; an image without a finite one gets the mean of the others.

    Args:
        reward: the scorer; it is called for parts of the batch when memory runs out.
        images: `(n, 3, H, W)` in [0, 1].
        prompts: n texts.

    Raises:
        InputError: the scorer gave another shape, or does not fit in memory.
        NoFiniteReward: it gave no finite number at all.
    """
    count, name = len(prompts), reward_name(reward)
    scores = in_parts(
        lambda part: _scores(reward, images[part], prompts[part]),
        count,
        count,
        f"scoring images by {name} on {images.device}",
    )
    finite = torch.isfinite(scores)
    if not finite.any():
        raise NoFiniteReward(
            f"reward {name} gave no finite score for {_quoted(prompts)}; check its model files"
        )
    return Scores(torch.where(finite, scores, scores[finite].mean()), finite)


def _scores(reward: Scorer, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """What the reward says, `(n,)` float32 on the images' device, once its shape is right."""
    scores: Any = reward.score(images, prompts)
    if not isinstance(scores, Tensor) or scores.shape != (len(prompts),):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            f"reward {reward_name(reward)} gave {found} for {len(prompts)} images; it must give "
            f"a tensor of shape ({len(prompts)},)"
        )
    return scores.to(images.device, torch.float32)


def reward_name(reward: Scorer) -> str:
    """How messages call a scorer."""
    return str(getattr(reward, "name", type(reward).__name__))


def stop_after_skipped(in_a_row: int, config: CheckpointConfig, why: str, newest: str) -> None:
    """End a run whose updates are skipped again and again.

    Args:
        in_a_row: updates skipped since the last good one.
        config: says how many are too many.
        why: prompt and reward of the last one.
        newest: what is left to go on from.

    Raises:
        InputError: there were too many.
    """
    if in_a_row >= config.stop_after_skipped:
        raise InputError(
            f"{in_a_row} updates in a row were skipped, the last because {why}; {newest}; correct "
            "or remove that prompt, or try a lower learning_rate, compute.precision float32 or "
            "another reward_model: each of these needs resume=never, which starts anew"
        )


def not_finite(reward: str, rewards: Tensor, prompts: Sequence[str]) -> str:
    """Say what stands behind a loss or gradient that is not finite.

    Args:
        reward: its name.
        rewards: `(n,)` those that were trained on, on the CPU.
        prompts: n texts.
    """
    extreme = int(rewards.abs().argmax())
    return (
        f"loss or gradient was not finite (largest reward {float(rewards[extreme]):.3g}, by "
        f"{reward} for prompt {prompts[extreme][:_SHOWN]!r})"
    )


def _quoted(prompts: Sequence[str]) -> str:
    different = list(dict.fromkeys(prompts))
    more = f" and {len(different) - 1} other prompts" if len(different) > 1 else ""
    return f"prompt {different[0][:_SHOWN]!r}{more}"


def check_prompts(prompts: Sequence[str]) -> None:
    """Check that there is something to train on.

    Raises:
        InputError: no prompt, or an empty one.
    """
    if not prompts:
        raise InputError("no training prompts; run prompt_preparation, or name an experiment")
    if any(not prompt.strip() for prompt in prompts):
        raise InputError("a training prompt is empty; remove it from the prompt source")


def check_readings(config: DPOKConfig, sampling: SamplingConfig) -> None:
    """Check what only the combination of parameters shows.

    Raises:
        InputError: sampling without randomness.
    """
    if sampling.eta == 0:
        raise InputError("sampling: eta is 0, a policy without randomness; set it to 1")
    if config.log_prob == "sum" and config.literal_ratio_clip:
        logger.warning(
            "ratio_clip %g is taken literally with summed log-probabilities, where it clips "
            "nearly every row; literal_ratio_clip: false scales it to the latent",
            config.ratio_clip,
        )
