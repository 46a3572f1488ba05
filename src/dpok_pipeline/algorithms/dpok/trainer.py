"""The state of a DPOK run and the five steps of its iterations."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer, Transitions
from dpok_pipeline.algorithms.dpok.old_policies import OldPolicies
from dpok_pipeline.algorithms.dpok.ratio_guard import RatioGuard
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.algorithms.dpok.value import Critic, make_critic
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import Samples, sample
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.alarms import Measure, Watch
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import DPOKConfig
from dpok_pipeline.training.curves import Curves, finite_mean, read_metrics
from dpok_pipeline.training.randomness import (
    capture_states,
    counter_generator,
    prompt_numbers,
    restore_states,
)
from dpok_pipeline.training.scoring import (
    NoFiniteReward,
    Scores,
    check_readings,
    not_finite,
    reward_name,
    score_images,
    stop_after_skipped,
)
from dpok_pipeline.training.signals import stop_requests
from dpok_pipeline.training.tracking import Tracker

logger = logging.getLogger(__name__)

_GRID_IMAGES = 16


class DPOKTrainer:
    """The state of a run."""

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        reward: Scorer,
        sampling: SamplingConfig,
        config: DPOKConfig,
        tracker: Tracker,
        measures: Mapping[str, Measure],
    ) -> None:
        self.model, self.prompts, self.reward = model, prompts, reward
        self.sampling, self.config, self.tracker = sampling, config, tracker
        check_readings(config, sampling)
        self.policy = PolicyUpdater(model, prompts, sampling, config)
        self.ratio_guard = RatioGuard(self.policy)
        self.old_policies: OldPolicies | None = None
        if config.recompute_log_probs:
            self.old_policies = OldPolicies(self.policy, config.buffer_rollouts)
        self.critic: Critic | None = None
        if config.baseline == "value_function":
            seed = derive_seed(config.seed, "value function")
            self.critic = make_critic(model, prompts, sampling, config.value, seed)
        self.buffer = TransitionBuffer(
            config.buffer_rollouts,
            sampling.ddim_steps,
            config.images_per_iteration,
            model.latent_shape,
            model.device,
        )
        self.watch = Watch(measures, config.alarm_deviations)
        self.iteration = self.prompt_cursor = 0
        self.rollout_batch = config.rollout_batch
        self._why_skipped, self.curves = "", Curves()

    def run(self, store: CheckpointStore) -> None:
        """Iterate to the configured end, from the newest checkpoint.

        Raises:
            InputError: too many updates in a row had to be skipped.
            Stopped: a signal came; the last iteration is finished and saved.
        """
        self._restore(store)
        bar = tqdm(total=self.config.iterations, initial=self.iteration, desc="DPOK", unit="it")
        with bar, stop_requests("iteration") as stop:
            while self.iteration < self.config.iterations:
                metrics, images = self._iterate()
                self._log({**metrics, "perf/checkpoint_seconds": store.seconds_spent()}, images)
                skipped = self.policy.optimiser.skipped_in_a_row
                stop_after_skipped(skipped, self.config, self._why_skipped, store.newest())
                stopping = bool(stop)
                # What was saved before the first of them stays the newest: nothing was learned.
                if not skipped:
                    ends = stopping or self.iteration == self.config.iterations
                    store.save_if_due(self.iteration, self._state, at_once=ends)
                if "reward/mean" in metrics:
                    bar.set_postfix(reward=f"{metrics['reward/mean']:.3f}")
                bar.update()
                if stopping:
                    stop.obey()

    def _log(self, metrics: dict[str, float], images: Tensor) -> None:
        self.curves.add(self.iteration, self.prompt_cursor, metrics)
        self.tracker.log(metrics, self.iteration)
        if self.iteration % self.config.log_images_every == 0:
            self.tracker.log_images("samples", images[:_GRID_IMAGES].cpu(), self.iteration)

    def _iterate(self) -> tuple[dict[str, float], Tensor]:
        started = time.perf_counter()
        # 1. Rollout: images from the current policy, with every transition.
        texts, numbers, samples = self._rollout()
        # 2. Reward of the final images; the transitions go into the buffer.
        images = decode(self.model, samples.latents, self.rollout_batch)
        scores = self._score(images, texts)
        rolled_out = time.perf_counter()
        metrics: dict[str, Tensor] = {}
        if scores is not None:
            self.buffer.add(samples, scores.rewards, numbers)
            # 3. Value function: regress on the rewards in the buffer.
            metrics = self._update_value()
            # 4. Policy: several updates on random transitions of the last rollouts.
            metrics.update(self._update_policy())
            self._explain_skipped(scores.rewards, texts)
        # 5. Write down the iteration's metrics.
        self.iteration += 1
        return self._record(metrics, scores, started, rolled_out), images

    def _score(self, images: Tensor, texts: list[str]) -> Scores | None:
        """Rewards and what is watched; None where a reward that used to work gave none."""
        try:
            scores = score_images(self.reward, images, texts)
        except NoFiniteReward as fault:
            if not self.curves.rows:
                raise
            self._why_skipped = str(fault)
            logger.warning("Iteration %d is skipped: %s", self.iteration + 1, fault)
            self.policy.optimiser.skip(self.config.updates_per_iteration)
            return None
        self.watch.look(images, texts, self.iteration + 1)
        return scores

    def _explain_skipped(self, rewards: Tensor, texts: list[str]) -> None:
        if self.policy.optimiser.skipped_in_a_row:
            self._why_skipped = not_finite(reward_name(self.reward), rewards.cpu(), texts)
            logger.warning(
                "Updates skipped in iteration %d: %s", self.iteration + 1, self._why_skipped
            )

    def _rollout(self) -> tuple[list[str], Tensor, Samples]:
        count, first = self.config.images_per_iteration, self.prompt_cursor
        numbers = prompt_numbers(self.config.seed, len(self.prompts), first, count)
        texts = [self.prompts[i] for i in numbers.tolist()]
        samples = sample(
            self.model,
            texts,
            self.sampling,
            seed=derive_seed(self.config.seed, "rollout"),
            indices=range(first, first + count),
            batch_size=self.rollout_batch,
            keep_trajectory=True,
        )
        self.rollout_batch = samples.batch_size
        self.prompt_cursor += count
        return texts, numbers, samples

    def _update_value(self) -> dict[str, Tensor]:
        if self.critic is None:
            return {}
        generator = counter_generator(self.config.seed, "value rows", self.iteration)
        return self.critic.update(lambda count: self.buffer.rows(self._draw(count, generator)))

    def _update_policy(self) -> dict[str, Tensor]:
        generator = counter_generator(self.config.seed, "policy rows", self.iteration)
        draws = [
            self._draw(self.config.transitions_per_update, generator)
            for _ in range(self.config.updates_per_iteration)
        ]
        extra: dict[str, Tensor] = {}
        if self.old_policies is not None:
            self.old_policies.remember(self.buffer.newest_slot)
            noise = self.old_policies.recompute(self.buffer, torch.cat(draws))
            extra["policy/log_prob_noise"] = noise
        updates = [self.policy.update(self.buffer, rows, self._advantage) for rows in draws]
        metrics = {key: finite_mean([u[key] for u in updates]) for key in updates[0]}
        metrics["policy/fresh_log_ratio"] = updates[0]["policy/fresh_log_ratio"]
        return {**metrics, **extra}

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Row numbers of the whole buffer without replacement, fewer if it holds fewer."""
        return torch.randperm(len(self.buffer), generator=generator)[:count]

    def _advantage(self, rows: Transitions) -> Tensor:
        if self.critic is not None:
            return rows.reward - self.critic(rows)
        if self.config.baseline == "prompt_mean":
            return rows.reward - rows.prompt_mean
        return rows.reward

    def _record(
        self, metrics: dict[str, Tensor], scores: Scores | None, started: float, rolled_out: float
    ) -> dict[str, float]:
        row = read_metrics(metrics, scores.rewards if scores else None)
        finished = time.perf_counter()
        config, images = self.config, self.config.images_per_iteration
        rows = config.updates_per_iteration * min(config.transitions_per_update, len(self.buffer))
        if scores is not None:
            self.ratio_guard.look(row["policy/fresh_log_ratio"])
        return {
            **row,
            **self.watch.metrics(),
            "reward/unscored": scores.unscored if scores else images,
            "grad/skipped_updates": self.policy.optimiser.skipped,
            "perf/seconds": finished - started,
            "perf/images_per_second": images / (rolled_out - started),
            "perf/transitions_per_second": rows / (finished - rolled_out) if scores else 0.0,
        }

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own, by its name in a checkpoint."""
        names = ("policy", "critic", "old_policies", "buffer", "watch", "curves")
        parts = {name: getattr(self, name) for name in names}
        return {name: part for name, part in parts.items() if part is not None}

    def _state(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {**parts, "prompt_cursor": self.prompt_cursor, "random_states": capture_states()}

    def _restore(self, store: CheckpointStore) -> None:
        found = store.load_newest(at_most=self.config.iterations)
        if found is None:
            return
        self.iteration, state = found
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.prompt_cursor = int(state["prompt_cursor"])
        restore_states(state["random_states"])
        logger.info("Going on from iteration %d", self.iteration)
