"""The SFT data set in memory: final latents, rewards and prompts of base-model images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.shards import Shards

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

COLUMNS = ("prompt", "reward", "latent", "latent_shape")


@dataclass(frozen=True)
class SFTSamples:
    """What SFT learns from.

    Attributes:
        latents: x_0, `(n, c, h, w)` float32.
        rewards: `(n,)` float32.
        prompts: The distinct texts.
        prompt_numbers: Index of each image's prompt in `prompts`, `(n,)` int64.
        base_model: Content hash of the model that drew the images; None where it is not known.
        made_by: How the images were made, as `without_prompts` returns it, for the LoRA that learns
            from them to keep; empty where it is not known.
    """

    latents: Tensor
    rewards: Tensor
    prompts: list[str]
    prompt_numbers: Tensor
    base_model: str | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_shards(cls, shards: Shards) -> SFTSamples:
        """Read what `generate_samples` made; it fails like `from_frame`."""
        return cls.from_frame(shards.frame(COLUMNS), shards.recipe)

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, recipe: Mapping[str, Any] = MappingProxyType({})
    ) -> SFTSamples:
        """Take all shards in one frame.

        Images without a finite reward are left out, with a warning.

        Args:
            frame: One row per image, with the columns that `generate_samples` writes.
            recipe: Everything that decided the images; empty where it is not known.

        Raises:
            InputError: There is no row, a column is missing, or latents differ in shape or are
                not finite.
        """
        missing = [column for column in COLUMNS if column not in frame]
        if missing or frame.empty:
            problem = f"no column {missing[0]!r}" if missing else "no row"
            raise InputError(f"sft_samples: {problem}; run sample_generation again")
        # All that images were drawn for, in that order: a LoRA is compared with the prompts by it.
        prompts = list(dict.fromkeys(frame["prompt"]))
        frame = _with_finite_rewards(frame)
        shapes = {tuple(int(size) for size in shape) for shape in frame["latent_shape"]}
        if len(shapes) != 1:
            raise InputError(
                f"sft_samples: latents of several shapes {sorted(shapes)}; the shards are of "
                "different base models, run sample_generation again"
            )
        flat = np.stack([np.asarray(latent, np.float32) for latent in frame["latent"]])
        rewards = frame["reward"].to_numpy(np.float32, copy=True)
        if not np.isfinite(flat).all():
            raise InputError("sft_samples: a latent is not finite; generate them again")
        numbers: Mapping[str, int] = {prompt: number for number, prompt in enumerate(prompts)}
        return cls(
            latents=torch.from_numpy(flat).reshape(len(frame), *shapes.pop()),  # (n, c, h, w)
            rewards=torch.from_numpy(rewards),
            prompts=prompts,
            prompt_numbers=torch.tensor([numbers[prompt] for prompt in frame["prompt"]]),
            base_model=recipe.get("base_model"),
            made_by=without_prompts(recipe),
        )

    def __len__(self) -> int:
        return len(self.latents)


def without_prompts(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a LoRA keeps of its samples' recipe.

    The prompts it has itself, and the kernels, which decide rounding, nobody compares later.
    """
    return {name: part for name, part in recipe.items() if name not in ("prompts", "kernels")}


def _with_finite_rewards(frame: pd.DataFrame) -> pd.DataFrame:
    finite = np.isfinite(frame["reward"].to_numpy(np.float32))
    if not finite.any():
        raise InputError("sft_samples: no image has a finite reward; check the reward model")
    with_reward: pd.DataFrame = frame[finite]
    if not finite.all():
        unlearned = sorted({*frame["prompt"]} - {*with_reward["prompt"]})
        logger.warning(
            "SFT leaves out %d of %d images, whose reward is not finite%s",
            (~finite).sum(),
            len(frame),
            f"; it learns nothing of {', '.join(map(repr, unlearned))}" if unlearned else "",
        )
    return with_reward
