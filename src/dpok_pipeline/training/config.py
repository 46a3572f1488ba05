"""Typed parameters that every algorithm shares, and those of the SFT data.

The paper's symbols: α `reward_weight`, β `kl_weight`, γ `sft_shift`, m `images_per_iteration`,
ε `ratio_clip`. Each algorithm's own parameters are in its folder.
"""

from __future__ import annotations

import logging
from typing import Literal, Self

from pydantic import Field, model_validator

from dpok_pipeline.config import BOOKKEEPING, LENGTH, OPTIONAL, FrozenConfig
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

Resume = Literal["auto", "never"]

# Images of one prompt in a rollout from which on their mean reward says something of the prompt.
_SMALLEST_GROUP = 4

# Shares of images without another one of their prompt, from which nothing is learned: above the
# first a run is refused, above the second it is warned of.
_MOST_ALONE, _MANY_ALONE = 1 / 2, 1 / 3


class CheckpointConfig(FrozenConfig):
    """When training saves its state, and when it gives up. Nothing here changes a number."""

    checkpoint_minutes: float | None = Field(
        default=2.0,
        gt=0,
        json_schema_extra=BOOKKEEPING,
        description="Minutes between checkpoints; null means that steps alone decide.",
    )
    checkpoint_every: int | None = Field(
        default=None,
        ge=1,
        json_schema_extra=BOOKKEEPING,
        description="Iterations or updates between checkpoints, besides those by time; null means "
        "that time alone decides. The end of a run always has one.",
    )
    checkpoints_kept: int = Field(
        default=2,
        ge=1,
        json_schema_extra=BOOKKEEPING,
        description="Number of checkpoints that are kept, the newest ones.",
    )
    stop_after_skipped: int = Field(
        default=20,
        ge=1,
        json_schema_extra=BOOKKEEPING,
        description="Updates in a row that are skipped, because a loss, reward or gradient is not "
        "finite, after which the run stops.",
    )


class TrainingConfig(CheckpointConfig):
    """What every algorithm that trains a LoRA has. Each one has its own defaults."""

    seed: int = Field(
        default=0, ge=0, description="Seed of everything that the run draws at random."
    )
    microbatch: int = Field(
        default=48,
        ge=1,
        description="Rows that go through the network at once; halved when memory runs out. It "
        "changes rounding only.",
    )
    slices: int = Field(
        default=1,
        ge=1,
        json_schema_extra=OPTIONAL,
        description="Parts that images and rows are computed in, each by itself, so that as many "
        "workers can share a run. It decides rounding; the number of workers does not.",
    )
    learning_rate: float = Field(
        default=1e-5, gt=0, description="Learning rate of the LoRA's AdamW."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay of the LoRA's AdamW.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Norm that the LoRA's gradient is clipped to."
    )

    @model_validator(mode="after")
    def _rows_for_every_slice(self) -> Self:
        for name in ("rows_per_update", "transitions_per_update"):
            rows = getattr(self, name, None)
            if rows is not None and rows < self.slices:
                raise ValueError(f"slices {self.slices} is more than {name} {rows}; take fewer")
        return self

    def check(self, sampling: SamplingConfig, prompts: int) -> None:
        """Check what only the combination with other parameters shows, before any work.

        Args:
            sampling: How images are drawn.
            prompts: Number of training prompts.

        Raises:
            InputError: The combination cannot be trained with.
        """


class OnlineConfig(TrainingConfig):
    """What every algorithm has that draws its own images: rollouts, prompts and alarms."""

    iterations: int = Field(
        ge=1,
        json_schema_extra=LENGTH,
        description="Number of outer loops, each with one rollout and its updates.",
    )
    images_per_iteration: int = Field(default=10, ge=1, description="Images per rollout (m).")
    group_size: int = Field(
        default=1,
        ge=1,
        description="Images of the same prompt that a rollout draws one after the other; it "
        "divides images_per_iteration. With 1 the prompts come in shuffles of one image each.",
    )
    rollout_batch: int = Field(
        default=64, ge=1, description="Images sampled at once; halved when memory runs out."
    )
    alarm_deviations: float | None = Field(
        default=3.0,
        gt=0,
        json_schema_extra=BOOKKEEPING,
        description="Standard deviations, over the images of the first rollout, by which a "
        "rollout's mean may leave theirs before an alarm rings; null means no alarms.",
    )

    @model_validator(mode="after")
    def _whole_slices(self) -> Self:
        if self.images_per_iteration % self.slices:
            raise ValueError(
                f"slices {self.slices} does not divide images_per_iteration "
                f"{self.images_per_iteration}; every slice has as many images as the others"
            )
        return self

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.images_per_iteration % self.group_size:
            raise ValueError(
                f"group_size {self.group_size} does not divide images_per_iteration "
                f"{self.images_per_iteration}; a rollout consists of whole groups"
            )
        return self

    def lone_images(self, prompts: int, rollouts: int = 1) -> float:
        """Return the share of images that are alone of their prompt among the last rollouts.

        It is counted over the numbers of the prompts that the run will draw.

        Args:
            prompts: Number of training prompts.
            rollouts: Rollouts that an image's reward is compared within, the newest ones.
        """
        from dpok_pipeline.training.randomness import share_of_lone_images

        return share_of_lone_images(
            self.seed,
            prompts,
            images=self.images_per_iteration,
            group_size=self.group_size,
            rollouts=rollouts,
            iterations=self.iterations,
        )

    def _check_lone_images(
        self, share: float, prompts: int, *, consequence: str, remedy: str
    ) -> None:
        """Refuse a run in which most images are alone of their prompt; warn of one with many.

        Args:
            share: Their share.
            prompts: Number of training prompts.
            consequence: What it is a share of, and what these images come to.
            remedy: What can be done besides drawing in groups.

        Raises:
            InputError: It is more than half of the images.
        """
        if share <= _MANY_ALONE:
            return
        problem = (
            f"rl_training: {share:.0%} {consequence}, because {prompts} prompts share "
            f"{self.images_per_iteration} images an iteration and an image that is alone of its "
            f"prompt is compared with itself; set group_size to 2 or more, {remedy}"
        )
        if share > _MOST_ALONE:
            raise InputError(problem)
        logger.warning("%s", problem)


class GenerationConfig(FrozenConfig):
    """The SFT data: images of the frozen base model with their rewards."""

    seed: int = Field(default=0, ge=0, description="Seed of the images' noise.")
    images: int = Field(
        ge=1, description="Number of images in all (M), spread evenly over the prompts."
    )
    shard_size: int = Field(default=256, ge=1, description="Images per shard.")
    batch_size: int = Field(
        default=64,
        ge=1,
        json_schema_extra=BOOKKEEPING,
        description="Images sampled at once; halved when memory runs out.",
    )


def group_size_for(prompts: int, images_per_iteration: int) -> int:
    """Choose the group size with which any number of prompts can be learned from.

    Where every prompt comes at least four times in a rollout anyway, no groups are needed. Else
    a group has the smallest number of images, from four on, that divides the rollout, so that a
    reward is always compared with others of its own prompt.

    Args:
        prompts: Number of training prompts.
        images_per_iteration: Images per rollout.

    Returns:
        A divisor of `images_per_iteration`.
    """
    if images_per_iteration >= _SMALLEST_GROUP * prompts:
        return 1
    sizes = range(_SMALLEST_GROUP, images_per_iteration)
    divisors = (size for size in sizes if images_per_iteration % size == 0)
    return next(divisors, images_per_iteration)
