"""The rollouts of an online algorithm: which prompts, then draw, decode, score."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import Samples, decode, sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.scorer import Scorer, scorer_name
from dpok_pipeline.team.faults import raise_together
from dpok_pipeline.team.slices import WHOLE, Slices
from dpok_pipeline.training.config import OnlineConfig
from dpok_pipeline.training.loop import Step
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import prompt_numbers, seeded
from dpok_pipeline.training.rollouts.alarms import Measure, Watch
from dpok_pipeline.training.scoring import (
    NoFiniteReward,
    Scores,
    ask_in_parts,
    fill_missing,
    not_finite,
)

logger = logging.getLogger(__name__)


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


class _Part(NamedTuple):
    """What a slice of a rollout gave.

    Attributes:
        samples: Of k images.
        images: `(k, 3, H, W)` in [0, 1].
        rewards: As the reward gave them, `(k,)`; nothing of use where it failed.
        fault: Why it failed, or None.
    """

    samples: Samples
    images: Tensor
    rewards: Tensor
    fault: InputError | None


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
        slices: Slices = WHOLE,
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
            slices: The parts that images are drawn in, and who shares them.
        """
        self.slices = slices
        self.model, self.prompts, self.table, self.reward = model, prompts, table, reward
        self.sampling, self.config, self.keep_trajectory = sampling, config, keep_trajectory
        # What only people look at is done by the member that writes it down.
        watched = measures if slices.team.rank == 0 else {}
        self.watch = Watch(watched, config.alarm_deviations)
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
        parts = [
            self._draw_slice(first + places, prompts[places], iteration)
            for places in self.slices.parts(torch.arange(count))
        ]
        self.images_seen += count
        samples = self._join([part.samples for part in parts])
        images = self.slices.join([part.images for part in parts])
        raise_together(self.slices.team, next((p.fault for p in parts if p.fault), None))
        rewards = self.slices.join([part.rewards for part in parts])
        scores, fault = self._complete(rewards, images, texts, iteration)
        finished = time.perf_counter()
        return Rollout(prompts, texts, samples, images, scores, fault, started, finished)

    def _draw_slice(self, numbers: Tensor, prompts: Tensor, iteration: int) -> _Part:
        """Draw, decode and score the images of one slice.

        Args:
            numbers: The images' indices in the series of all images, `(k,)`.
            prompts: Indices into the training prompts, `(k,)` int64.
            iteration: The iteration's number, 0 first.
        """
        samples = sample(
            self.model,
            self.table.hidden[prompts.to(self.model.device)],  # (k, tokens, dim)
            self.sampling,
            seed=derive_seed(self.config.seed, "rollout"),
            indices=numbers.tolist(),  # an image's noise depends on its index alone
            batch_size=self._batch_size,
            keep_trajectory=self.keep_trajectory,
        )
        # What fitted in memory is where the next rollout begins.
        self._batch_size = samples.batch_size
        images = decode(self.model, samples.latents, self._batch_size)
        texts = [self.prompts[i] for i in prompts.tolist()]
        fault, rewards = None, torch.zeros(len(texts), device=images.device)
        try:
            with self._own_randomness(iteration, int(numbers[0])):
                rewards = ask_in_parts(self.reward, images, texts)
        except InputError as error:
            fault = error
        return _Part(samples, images, rewards, fault)

    def _own_randomness(self, iteration: int, first: int) -> AbstractContextManager[None]:
        """Give a reward that draws at random the same numbers, whoever has the slice."""
        if self.slices.count == 1:
            return nullcontext()
        return seeded(derive_seed(self.config.seed, f"reward/{iteration}/{first}"))

    def _join(self, parts: Sequence[Samples]) -> Samples:
        """Join the samples of the slices."""
        self._batch_size = self.slices.smallest(self._batch_size)
        latents = self.slices.join([part.latents for part in parts])
        if not self.keep_trajectory:
            return Samples(latents, self._batch_size)
        paths = [part.trajectory for part in parts if part.trajectory is not None]
        log_probs = [part.log_probs for part in parts if part.log_probs is not None]
        return Samples(
            latents,
            self._batch_size,
            self.slices.join(paths, dim=1),  # (steps + 1, n, c, h, w)
            self.slices.join(log_probs, dim=1),  # (steps, n)
        )

    def _complete(
        self, rewards: Tensor, images: Tensor, texts: list[str], iteration: int
    ) -> tuple[Scores | None, str]:
        """Return the rewards, or None and why, where a reward that used to work gave none."""
        try:
            scores = fill_missing(rewards, self.reward, texts)
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
