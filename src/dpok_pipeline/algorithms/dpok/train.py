"""DPOK: online policy gradient with KL regularisation (paper, Algorithm 1)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.advantages import Advantages
from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.old_policies import OldPolicies
from dpok_pipeline.algorithms.dpok.ratio_guard import RatioGuard
from dpok_pipeline.algorithms.dpok.update import PolicyUpdate, PolicyUpdater
from dpok_pipeline.algorithms.dpok.value import Critic, make_critic
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import copy_weights
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.rewards.scorer import Scorer
from dpok_pipeline.team.slices import Slices
from dpok_pipeline.team.torch_team import current_team
from dpok_pipeline.training.config import Resume
from dpok_pipeline.training.loop import Plan, Stateful, Step, train_lora
from dpok_pipeline.training.monitoring.filmstrip import Subject
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import counter_generator
from dpok_pipeline.training.rollouts.alarms import Measure
from dpok_pipeline.training.rollouts.drawer import RolloutDrawer
from dpok_pipeline.training.rollouts.summary import finite_mean, online_recipe, summarise_online
from dpok_pipeline.training.scoring import check_prompts, reward_metrics
from dpok_pipeline.training.tracking import (
    Curves,
    NullTracker,
    Tracker,
    TrainingResult,
    to_numbers,
)


class DPOKLearner:
    """The state of a DPOK run, and one iteration of Algorithm 1."""

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        reward: Scorer,
        *,
        sampling: SamplingConfig,
        config: DPOKConfig,
        measures: Mapping[str, Measure],
    ) -> None:
        """Start before the first iteration.

        Args:
            model: The base model with its LoRA attached.
            prompts: The training prompts.
            reward: Scores images.
            sampling: How rollouts are drawn.
            config: DPOK's parameters.
            measures: What alarms watch beside the reward.
        """
        self.config = config
        slices = Slices(config.slices, current_team())
        self.optimiser = LoRAOptimiser(model, config)
        table = PromptTable.encode(model, prompts)
        self.policy = PolicyUpdater(model, table, sampling, config, self.optimiser, slices)
        self.ratio_guard = RatioGuard(self.policy, config.recompute_log_probs)
        self.old_policies: OldPolicies | None = None
        if config.recompute_log_probs:
            weights = self.optimiser.parameters
            self.old_policies = OldPolicies(self.policy, weights, config.buffer_rollouts)
        self.critic: Critic | None = None
        if config.baseline == "value_function":
            seed = derive_seed(config.seed, "value function")
            self.critic = make_critic(model, table, sampling, config.value, seed)
        self.advantages = Advantages(config, len(prompts), self.critic)
        # Allocated once: an iteration copies into it and allocates nothing.
        self.buffer = TransitionBuffer(
            config.buffer_rollouts,
            sampling.ddim_steps,
            config.images_per_iteration,
            model.latent_shape,
            model.device,
        )
        self.rollouts = RolloutDrawer(
            model,
            prompts,
            table,
            reward,
            sampling=sampling,
            config=config,
            measures=measures,
            keep_trajectory=True,
            slices=slices,
        )

    def step(self, number: int) -> Step:
        """Do one iteration of Algorithm 1."""
        config, buffer = self.config, self.buffer
        # 1. Rollout: images of the current policy with every transition, and their rewards.
        rollout = self.rollouts.draw(number)
        if rollout.scores is None:
            self.optimiser.skip(config.updates_per_iteration)
            idle = {"perf/transitions_per_second": 0.0}
            return self.rollouts.report(rollout, number, idle, self.optimiser)
        # 2. Buffer: the transitions take the place of the oldest rollout's.
        buffer.add(rollout.samples, rollout.scores.rewards, rollout.prompts)
        metrics = reward_metrics(rollout.scores.rewards)
        # 3. Value function: regress on the rewards in the buffer.
        if self.critic is not None:
            value_rows = counter_generator(config.seed, "value rows", number)
            metrics |= self.critic.update(lambda count: buffer.rows(buffer.draw(count, value_rows)))
        # 4. Advantages: reward minus baseline, of every image in the buffer.
        self.advantages.measure(buffer)
        # 5. Policy: several updates, each on random transitions of the last rollouts.
        # Drawn before any update, because old log-probabilities are recomputed for all at once.
        draws = self.draw_rows(number)
        halved = self._refresh_log_probs(draws, metrics)
        updates = [self._first_update(draws[0], halved)]
        updates += [self.policy.update(buffer, rows, self.advantages) for rows in draws[1:]]
        metrics |= finite_mean([update.metrics for update in updates])
        # Only in the first update have the weights not moved since the rollout.
        metrics["policy/fresh_log_ratio"] = updates[0].metrics["policy/fresh_log_ratio"]
        measured = to_numbers(metrics)  # of the whole iteration, in one wait for the device
        halved = halved or any(update.halved for update in updates)
        self.ratio_guard.look(measured["policy/fresh_log_ratio"], halved)
        self.ratio_guard.look_at_clipped(measured["policy/clip_fraction"])
        seconds = time.perf_counter() - rollout.finished
        measured["perf/transitions_per_second"] = sum(map(len, draws)) / seconds
        return self.rollouts.report(rollout, number, measured, self.optimiser)

    def draw_rows(self, number: int) -> list[Tensor]:
        """Return the row numbers of each of the iteration's updates, on the CPU."""
        config, buffer = self.config, self.buffer
        generator = counter_generator(config.seed, "policy rows", number)
        updates, left_out = config.updates_per_iteration, config.last_steps_left_out
        count = config.transitions_per_update or -(-buffer.count(left_out) // updates)
        if config.rows == "epochs":
            # One series for all updates: the next one goes on where the last one ended.
            series = buffer.draw_epochs(updates * count, generator, left_out)
            return list(torch.split(series, count))
        draw = buffer.draw if config.rows == "random" else buffer.draw_images
        return [draw(count, generator, left_out) for _ in range(updates)]

    def _first_update(self, rows: Tensor, halved: bool) -> PolicyUpdate:
        """Update the policy for the first time in an iteration; have the guard judge what it did.

        No later update could be judged: the buffer's log-probabilities are those before the first.
        Where this one shows nothing, the guard waits for the next iteration's.

        Args:
            rows: Row numbers of the update, `(b,)` int64 on the CPU.
            halved: Whether memory ran out while log-probabilities were recomputed.
        """
        before = None
        if self.ratio_guard.moved_is_due and not halved:
            before = copy_weights(self.optimiser.parameters)
        update = self.policy.update(self.buffer, rows, self.advantages)
        # A skipped update has moved no weight.
        if before is not None and not (update.halved or self.optimiser.skipped_in_a_row):
            self.ratio_guard.look_at_moved(self.buffer, rows, before)
        return update

    def _refresh_log_probs(self, draws: Sequence[Tensor], metrics: dict[str, Tensor]) -> bool:
        """Recompute old log-probabilities where asked to; return whether memory ran out."""
        if self.old_policies is None:
            return False
        self.old_policies.remember(self.buffer.newest_slot)
        recomputed = self.old_policies.recompute(self.buffer, torch.cat(list(draws)))
        metrics["policy/log_prob_noise"] = recomputed.noise
        return recomputed.halved

    def summary(self, curves: Curves) -> dict[str, Any]:
        """Return a few numbers of the whole run."""
        return summarise_online(curves)

    def parts(self) -> dict[str, Stateful | None]:
        """Return all that has a state, by its name in a checkpoint."""
        return {
            "optimiser": self.optimiser,
            "rollouts": self.rollouts,
            "buffer": self.buffer,
            "advantages": self.advantages,
            "critic": self.critic,
            "old_policies": self.old_policies,
        }


def train_dpok(
    model: DiffusionModel,
    prompts: Sequence[str],
    reward: Scorer,
    *,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: DPOKConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    identity: str | Mapping[str, object] = "",
    resume: Resume = "auto",
    measures: Mapping[str, Measure] = MappingProxyType({}),
) -> TrainingResult:
    """Fine-tune a LoRA of the base model to a reward, staying close to the base model.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it refuses to.

    Args:
        model: The base model without a LoRA; it is left without one.
        prompts: The training prompts, drawn in endless shuffles.
        reward: Scores images.
        sampling: How rollouts are drawn; η must be above 0.
        lora: The policy's rank.
        config: Everything else.
        work_dir: The folder of this run alone, for checkpoints and the finished `lora` folder.
        tracker: Told the metrics of every iteration.
        identity: What identifies the reward model, such as its content hash.
        resume: `never` removes the checkpoints that are there.
        measures: What alarms watch beside the reward.

    Raises:
        InputError: Prompts, sampling or reward cannot be used; most advantages would be 0; the
            checkpoints were made with other arguments, or are all damaged; too many updates in a
            row had no finite gradient; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the iteration is finished and saved.
    """
    check_prompts(prompts)
    config.check(sampling, len(prompts))

    def make_learner() -> DPOKLearner:
        return DPOKLearner(
            model, prompts, reward, sampling=sampling, config=config, measures=measures
        )

    return train_lora(
        model,
        make_learner,
        Plan("DPOK", "iteration", config.iterations, shown="reward/mean", label="reward"),
        recipe=online_recipe(
            "dpok", model, prompts, sampling=sampling, lora=lora, config=config, identity=identity
        ),
        lora=lora,
        config=config,
        work_dir=work_dir,
        tracker=tracker,
        resume=resume,
        subject=Subject(prompts[0], sampling),
    )
