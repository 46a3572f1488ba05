"""Checks on what comes from outside while training runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.config import DPOKConfig

logger = logging.getLogger(__name__)


def score_images(reward: Scorer, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Rewards of a batch; an image without a finite one gets the mean of the others.

    Args:
        reward: the scorer.
        images: `(n, 3, H, W)` in [0, 1].
        prompts: n texts.

    Returns:
        `(n,)` float32 on the images' device.

    Raises:
        InputError: the scorer gave another shape, or no finite number at all.
    """
    scores: Any = reward.score(images, prompts)
    name = type(reward).__name__
    if not isinstance(scores, Tensor) or scores.shape != (len(prompts),):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            f"reward {name} gave {found} for {len(prompts)} images; it must give a tensor of "
            f"shape ({len(prompts)},)"
        )
    scores = scores.detach().to(images.device, torch.float32)
    finite = torch.isfinite(scores)
    if not bool(finite.any()):
        raise InputError(f"reward {name} gave no finite score for a batch; check its model files")
    return torch.where(finite, scores, scores[finite].mean())


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


def warn_of_rounding(log_ratio: float, band: tuple[float, ...]) -> bool:
    """Warn where rounding alone moves rows towards the clip.

    Args:
        log_ratio: largest |log ratio| of rows whose weights have not changed.
        band: lowest and highest ratio.

    Returns:
        Whether it warned.
    """
    width = math.log(band[1])
    if log_ratio <= width / 10:
        return False
    logger.warning(
        "With unchanged weights the log ratio is up to %.1e, the clip's band ±%.1e: rounding "
        "costs gradients; set recompute_log_probs, or precision float32",
        log_ratio,
        width,
    )
    return True
