"""The state of a DPOK run and the five steps of its iterations."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import Samples, sample
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.buffer import TransitionBuffer, Transitions
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import DPOKConfig
from dpok_pipeline.training.guards import check_readings, score_images, warn_of_rounding
from dpok_pipeline.training.old_policies import OldPolicies
from dpok_pipeline.training.policy_update import PolicyUpdater
from dpok_pipeline.training.randomness import (
    capture_states,
    counter_generator,
    prompt_numbers,
    restore_states,
)
from dpok_pipeline.training.rounding import check_options
from dpok_pipeline.training.tracking import Tracker
from dpok_pipeline.training.value import Critic, make_critic

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_GRID_IMAGES = 16


class DPOKTrainer:
    """The state of a run and the five steps of its iterations."""

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        reward: Scorer,
        sampling: SamplingConfig,
        config: DPOKConfig,
        tracker: Tracker,
    ) -> None:
        self.model, self.prompts, self.reward = model, prompts, reward
        self.sampling, self.config, self.tracker = sampling, config, tracker
        check_readings(config, sampling)
        self.policy = PolicyUpdater(model, prompts, sampling, config)
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
        self.iteration = 0
        self._warned = self._checked = False
        self.curves: list[dict[str, float]] = []

    def run(self, store: CheckpointStore) -> None:
        """Iterate to the configured end, from the newest checkpoint."""
        self._restore(store)
        bar = tqdm(total=self.config.iterations, initial=self.iteration, desc="DPOK", unit="it")
        with bar:
            while self.iteration < self.config.iterations:
                metrics, images = self._iterate()
                self.tracker.log(metrics, self.iteration)
                if self.iteration % self.config.log_images_every == 0:
                    self.tracker.log_images("samples", images[:_GRID_IMAGES].cpu(), self.iteration)
                if (
                    self.iteration % self.config.checkpoint_every == 0
                    or self.iteration == self.config.iterations
                ):
                    store.save(self.iteration, self._state())
                bar.set_postfix(reward=f"{metrics['reward/mean']:.3f}")
                bar.update()

    def _iterate(self) -> tuple[dict[str, float], Tensor]:
        started = time.perf_counter()
        # 1. Rollout: images from the current policy, with every transition.
        texts, numbers, samples = self._rollout()
        # 2. Reward of the final images; the transitions go into the buffer.
        images = decode(self.model, samples.latents, self.config.rollout_batch)
        rewards = score_images(self.reward, images, texts)
        self.buffer.add(samples, rewards, numbers)
        rolled_out = time.perf_counter()
        # 3. Value function: regress on the rewards in the buffer.
        metrics = self._update_value()
        # 4. Policy: several updates on random transitions of the last rollouts.
        metrics.update(self._update_policy())
        # 5. Write down the iteration's metrics.
        self.iteration += 1
        return self._record(metrics, rewards, started, rolled_out), images

    def _rollout(self) -> tuple[list[str], Tensor, Samples]:
        count = self.config.images_per_iteration
        first = self.iteration * count
        numbers = prompt_numbers(self.config.seed, len(self.prompts), first, count)
        texts = [self.prompts[i] for i in numbers.tolist()]
        samples = sample(
            self.model,
            texts,
            self.sampling,
            seed=derive_seed(self.config.seed, "rollout"),
            indices=range(first, first + count),
            batch_size=self.config.rollout_batch,
            keep_trajectory=True,
        )
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
        metrics = {key: _finite_mean([u[key] for u in updates]) for key in updates[0]}
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
        self, metrics: dict[str, Tensor], rewards: Tensor, started: float, rolled_out: float
    ) -> dict[str, float]:
        metrics = {
            "reward/mean": rewards.mean(),
            "reward/std": rewards.std(correction=0),
            "reward/min": rewards.min(),
            "reward/max": rewards.max(),
            **metrics,
        }
        # One wait for the device per iteration.
        values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
        finished = time.perf_counter()
        config, images = self.config, self.config.images_per_iteration
        rows = config.updates_per_iteration * min(config.transitions_per_update, len(self.buffer))
        row = {
            "step": self.iteration,
            "images_seen": self.iteration * images,
            **dict(zip(metrics, values, strict=True)),
            "grad/skipped_updates": self.policy.optimiser.skipped,
            "perf/seconds": finished - started,
            "perf/images_per_second": images / (rolled_out - started),
            "perf/transitions_per_second": rows / (finished - rolled_out),
        }
        self.curves.append(row)
        log_ratio = row["policy/fresh_log_ratio"]
        if not self._checked:
            self._checked = True
            recomputed = config.recompute_log_probs
            check_options(self.model.options, log_ratio, self.policy.band, recomputed)
        if not self._warned:
            self._warned = warn_of_rounding(log_ratio, self.policy.band)
        return {key: value for key, value in row.items() if "/" in key}

    def _state(self) -> dict[str, Any]:
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict() if self.critic else None,
            "old_policies": self.old_policies.state_dict() if self.old_policies else None,
            "buffer": self.buffer.state_dict(),
            "curves": self.curves,
            "random_states": capture_states(),
        }

    def _restore(self, store: CheckpointStore) -> None:
        found = store.load_newest(at_most=self.config.iterations)
        if found is None:
            return
        self.iteration, state = found
        self.policy.load_state_dict(state["policy"])
        if self.critic:
            self.critic.load_state_dict(state["critic"])
        if self.old_policies:
            self.old_policies.load_state_dict(state["old_policies"])
        self.buffer.load_state_dict(state["buffer"])
        self.curves = state["curves"]
        restore_states(state["random_states"])
        logger.info("Going on from iteration %d", self.iteration)

    def curves_frame(self) -> pd.DataFrame:
        """One row per iteration so far."""
        import pandas as pd

        return pd.DataFrame(self.curves)

    def summary(self) -> dict[str, Any]:
        """A few numbers of the run."""
        last = self.curves[-1]
        return {
            "iterations": self.iteration,
            "images": int(last["images_seen"]),
            "updates": self.iteration * self.config.updates_per_iteration,
            "skipped_updates": self.policy.optimiser.skipped,
            "first_reward": self.curves[0]["reward/mean"],
            "last_reward": last["reward/mean"],
            "last_kl_noise_mse": last["kl/noise_mse"],
            "seconds": sum(row["perf/seconds"] for row in self.curves),
        }


def _finite_mean(values: list[Tensor]) -> Tensor:
    """Mean without skipped updates' infinities; NaN where all are skipped."""
    stacked = torch.stack(values)
    return torch.where(stacked.isfinite(), stacked, torch.nan).nanmean()
