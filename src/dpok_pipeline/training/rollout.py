"""Rollouts: what every online algorithm does before it learns. Draw, decode, score, look.

A preview draws as well, now and then, for people to look at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import Samples, decode, sample
from dpok_pipeline.rewards.scorer import Scorer, scorer_name
from dpok_pipeline.training.alarms import Measure, Watch
from dpok_pipeline.training.config import OnlineConfig
from dpok_pipeline.training.loop import Step
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import prompt_numbers
from dpok_pipeline.training.scoring import (
    NoFiniteReward,
    Scores,
    not_finite,
    score_rewards,
)
from dpok_pipeline.training.tracking import Curves

logger = logging.getLogger(__name__)

# Pictures in a row of a preview: enough to see what is common to them.
_COLUMNS = 8


@dataclass(frozen=True)
class Rollout:
    """Images of the present policy, with their rewards.

    Attributes:
        prompts: Index of each image's prompt among the training prompts, `(n,)` int64 on the CPU.
        texts: The n prompts.
        samples: Final latents and, where they were kept, the transitions.
        images: `(n, 3, H, W)` in [0, 1].
        scores: The rewards; None where a reward that used to work gave none.
        fault: What the reward said then.
        started: When drawing began, in seconds of `time.perf_counter`.
        finished: When the last reward was there.
    """

    prompts: Tensor
    texts: list[str]
    samples: Samples
    images: Tensor
    scores: Scores | None
    fault: str
    started: float
    finished: float


class Preview:
    """Draws a grid of two rows, above the base model and below the policy as it is.

    The noises are fixed, and none of training's: what changes from one grid to the next is what
    the policy has learned.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        table: PromptTable,
        sampling: SamplingConfig,
        seed: int,
    ) -> None:
        """Choose the noises; nothing is drawn yet.

        Args:
            model: The base model with its LoRA attached.
            prompts: The training prompts, which the columns go round.
            table: Their features.
            sampling: Steps, η and guidance.
            seed: The run's seed.
        """
        self.model, self.sampling = model, sampling
        self.seed = derive_seed(seed, "preview")
        numbers = torch.arange(_COLUMNS) % len(prompts)
        self.hidden = table.hidden[numbers.to(model.device)]  # (columns, tokens, dim)
        self._base: Tensor | None = None

    def draw(self) -> Tensor:
        """Return the grid, `(3, 2·H, columns·W)` in [0, 1] on the CPU."""
        if self._base is None:
            with reference_policy(self.model.unet):
                self._base = self._draw_row()
        return torch.cat([self._base, self._draw_row()], dim=1)  # one row above the other

    def _draw_row(self) -> Tensor:
        """Draw the columns' pictures with the model as it is, `(3, H, columns·W)`."""
        samples = sample(
            self.model,
            self.hidden,
            self.sampling,
            seed=self.seed,
            indices=range(_COLUMNS),
            batch_size=_COLUMNS,
        )
        images = decode(self.model, samples.latents, _COLUMNS).cpu()  # (columns, 3, H, W)
        return torch.cat(list(images), dim=2)  # side by side


class RolloutDrawer:
    """Draws an online algorithm's rollouts.

    Attributes:
        images_seen: Images drawn since the run began; the next one's index.
    """

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        table: PromptTable,
        reward: Scorer,
        *,
        sampling: SamplingConfig,
        config: OnlineConfig,
        measures: Mapping[str, Measure],
        keep_trajectory: bool,
    ) -> None:
        """Start before the first image.

        Args:
            model: The base model with its LoRA attached.
            prompts: The training prompts, drawn in endless shuffles.
            table: Their features.
            reward: Scores the images.
            sampling: Steps, η and guidance.
            config: How many images, of how many prompts.
            measures: What alarms watch beside the reward.
            keep_trajectory: Whether the transitions are needed, or the final images alone.
        """
        self.model, self.prompts, self.table, self.reward = model, prompts, table, reward
        self.sampling, self.config, self.keep_trajectory = sampling, config, keep_trajectory
        self.watch = Watch(measures, config.alarm_deviations)
        self.preview = Preview(model, prompts, table, sampling, config.seed)
        self.images_seen = 0
        self._batch_size = config.rollout_batch

    def draw(self, iteration: int) -> Rollout:
        """Draw the next rollout with the LoRA as it is.

        Args:
            iteration: The iteration's number, 0 first.

        Raises:
            InputError: In the first iteration no reward was finite: it never worked.
        """
        started = time.perf_counter()
        count, first = self.config.images_per_iteration, self.images_seen
        prompts = prompt_numbers(
            self.config.seed, len(self.prompts), first, count, self.config.group_size
        )
        texts = [self.prompts[i] for i in prompts.tolist()]
        samples = sample(
            self.model,
            self.table.hidden[prompts.to(self.model.device)],  # (n, tokens, dim)
            self.sampling,
            seed=derive_seed(self.config.seed, "rollout"),
            indices=range(first, first + count),  # an image's noise depends on its index alone
            batch_size=self._batch_size,
            keep_trajectory=self.keep_trajectory,
            noise_group=self.config.group_size if self.config.shared_noise else 1,
        )
        # What fitted in memory is where the next rollout begins.
        self._batch_size = samples.batch_size
        self.images_seen += count
        images = decode(self.model, samples.latents, self._batch_size)
        scores, fault = self._score(images, texts, iteration)
        finished = time.perf_counter()
        return Rollout(prompts, texts, samples, images, scores, fault, started, finished)

    def _score(self, images: Tensor, texts: list[str], iteration: int) -> tuple[Scores | None, str]:
        """Return the rewards, or None and why, where a reward that used to work gave none."""
        try:
            scores = score_rewards(self.reward, images, texts)
        except NoFiniteReward as fault:
            if iteration == 0:
                raise
            logger.warning("Iteration %d is skipped: %s", iteration + 1, fault)
            return None, str(fault)
        # Alarms look at rollouts that count; a skipped one is not measured, nor reported.
        self.watch.look(images, texts, iteration + 1)
        return scores, ""

    def report(
        self,
        rollout: Rollout,
        iteration: int,
        metrics: Mapping[str, float],
        optimiser: LoRAOptimiser,
    ) -> Step:
        """Put together what the loop writes down of an iteration.

        Args:
            rollout: The iteration's rollout.
            iteration: The iteration's number, 0 first.
            metrics: What the algorithm has measured.
            optimiser: Knows which updates were skipped.
        """
        scores, images = rollout.scores, len(rollout.texts)
        shown = (iteration + 1) % self.config.log_images_every == 0
        return Step(
            images_seen=self.images_seen,
            metrics={
                **metrics,
                **(self.watch.metrics() if scores else {}),
                "reward/unscored": images if scores is None else scores.unscored,
                "grad/skipped_updates": optimiser.skipped,
                "perf/seconds": time.perf_counter() - rollout.started,
                "perf/images_per_second": images / (rollout.finished - rollout.started),
            },
            preview=self.preview.draw() if shown else None,
            skipped_in_a_row=optimiser.skipped_in_a_row,
            why_skipped=self._explain(rollout, iteration) if optimiser.skipped_in_a_row else "",
        )

    def _explain(self, rollout: Rollout, iteration: int) -> str:
        """Say why updates on a rollout were skipped."""
        if rollout.scores is None:
            return rollout.fault
        why = not_finite(scorer_name(self.reward), rollout.scores.rewards.cpu(), rollout.texts)
        logger.warning("Updates skipped in iteration %d: %s", iteration + 1, why)
        return why

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the series of prompts and the alarms' state, for a checkpoint."""
        return {"images_seen": self.images_seen, "watch": self.watch.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.images_seen = int(state["images_seen"])
        self.watch.load_state_dict(state["watch"])


def finite_mean(updates: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the metrics of an iteration's updates, without the infinities of skipped ones.

    Args:
        updates: Metrics of each update as device scalars, all with the same names.

    Returns:
        A device scalar by each name; NaN where every update was skipped.
    """
    means = {}
    for name in updates[0]:
        values = torch.stack([update[name] for update in updates])  # (updates,)
        means[name] = torch.where(values.isfinite(), values, torch.nan).nanmean()
    return means


def summarise_online(curves: Curves) -> dict[str, Any]:
    """Return a few numbers of a whole online run."""
    last, rewards = curves.rows[-1], curves.column("reward/mean")
    return {
        "iterations": int(last["step"]),
        "images": int(last["images_seen"]),
        "skipped_updates": int(last["grad/skipped_updates"]),
        "first_reward": rewards[0],
        "last_reward": rewards[-1],
        "best_reward": max(rewards),
        "last_kl_noise_mse": curves.column("kl/noise_mse")[-1],
        "seconds": sum(curves.column("perf/seconds")),
    }


def online_recipe(
    algorithm: str,
    model: DiffusionModel,
    prompts: Sequence[str],
    *,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: OnlineConfig,
    identity: str | Mapping[str, object],
) -> dict[str, Any]:
    """Return everything that decides an online run's numbers but its length.

    Args:
        algorithm: Name of the algorithm.
        model: The base model.
        prompts: The training prompts.
        sampling: How rollouts are drawn.
        lora: The LoRA's rank.
        config: The algorithm's parameters.
        identity: What identifies the reward model.
    """
    return {
        "algorithm": algorithm,
        "rl_training": config.numbers(length=False),
        "sampling": sampling.numbers(),
        "lora": lora.numbers(),
        "base_model": model.handle.content_hash,
        "compute": {"precision": model.precision},
        "kernels": model.kernels,
        "reward_model": identity,
        "prompts": list(prompts),
    }
