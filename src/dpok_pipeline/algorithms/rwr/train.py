"""Online reward-weighted regression (RWR): draw, weigh by the reward, regress, repeat.

Each iteration draws images of the current policy, weighs them by their rewards within the rollout,
and takes a few steps of the noise regression that SFT takes on images of the base model. It needs
final images alone: no transitions, no log-probabilities, and any sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.rwr.weights import effective_share, image_weights
from dpok_pipeline.algorithms.sft.update import WeightedImages, WeightedRegression
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
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
from dpok_pipeline.training.rollouts.summary import online_recipe, summarise_online
from dpok_pipeline.training.scoring import check_prompts, reward_metrics
from dpok_pipeline.training.tracking import (
    Curves,
    NullTracker,
    Tracker,
    TrainingResult,
    to_numbers,
)


class RWRLearner:
    """The state of an RWR run, and one iteration of it."""

    def __init__(
        self,
        model: DiffusionModel,
        prompts: Sequence[str],
        reward: Scorer,
        *,
        sampling: SamplingConfig,
        config: RWRConfig,
        measures: Mapping[str, Measure],
    ) -> None:
        """Start before the first iteration.

        Args:
            model: The base model with its LoRA attached.
            prompts: The training prompts.
            reward: Scores images.
            sampling: How rollouts are drawn.
            config: RWR's parameters.
            measures: What alarms watch beside the reward.
        """
        self.config = config
        slices = Slices(config.slices, current_team())
        self.optimiser = LoRAOptimiser(model, config)
        table = PromptTable.encode(model, prompts)
        self.regression = WeightedRegression(
            model,
            table,
            self.optimiser,
            loss=config.loss,
            pull=config.sft_shift,
            microbatch=min(config.microbatch, config.rows_per_update),
            slices=slices,
        )
        self.rollouts = RolloutDrawer(
            model,
            prompts,
            table,
            reward,
            sampling=sampling,
            config=config,
            measures=measures,
            keep_trajectory=False,
            slices=slices,
        )

    def step(self, number: int) -> Step:
        """Do one iteration."""
        # 1. Draw: images of the current policy, and their rewards.
        rollout = self.rollouts.draw(number)
        if rollout.scores is None:
            self.optimiser.skip(self.config.updates_per_iteration)
            return self.rollouts.report(rollout, number, {}, self.optimiser)
        # 2. Weigh: by the reward, against the other images of the prompt.
        rewards = rollout.scores.rewards
        weights = image_weights(rewards, rollout.prompts, self.config.temperature)
        prompts = rollout.prompts.to(rewards.device)
        images = WeightedImages(rollout.samples.latents, weights, prompts)
        # 3. Regress: several updates, each on random images, times and noise.
        for update in range(self.config.updates_per_iteration):
            # Updates are numbered through the run, so that none repeats another's draw.
            counter = number * self.config.updates_per_iteration + update
            generator = counter_generator(self.config.seed, "rwr", counter)
            self.regression.update(images, self.config.rows_per_update, generator)
        metrics = {**reward_metrics(rewards), "policy/effective_share": effective_share(weights)}
        measured = {**to_numbers(metrics), **self.regression.read_metrics()}
        return self.rollouts.report(rollout, number, measured, self.optimiser)

    def summary(self, curves: Curves) -> dict[str, Any]:
        """Return a few numbers of the whole run."""
        return summarise_online(curves)

    def parts(self) -> dict[str, Stateful | None]:
        """Return all that has a state, by its name in a checkpoint."""
        # The regression's metrics are read in every iteration, so that nothing of them is left.
        return {"optimiser": self.optimiser, "rollouts": self.rollouts}


def train_rwr(
    model: DiffusionModel,
    prompts: Sequence[str],
    reward: Scorer,
    *,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: RWRConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    identity: str | Mapping[str, object] = "",
    resume: Resume = "auto",
    measures: Mapping[str, Measure] = MappingProxyType({}),
) -> TrainingResult:
    """Fine-tune a LoRA on its own images, again and again, each weighted by its reward.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it refuses to.

    Args:
        model: The base model without a LoRA; it is left without one.
        prompts: The training prompts, drawn in endless shuffles.
        reward: Scores images.
        sampling: How rollouts are drawn.
        lora: The policy's rank.
        config: Everything else.
        work_dir: The folder of this run alone, for checkpoints and the finished `lora` folder.
        tracker: Told the metrics of every iteration.
        identity: What identifies the reward model, such as its content hash.
        resume: `never` removes the checkpoints that are there.
        measures: What alarms watch beside the reward.

    Raises:
        InputError: Prompts or reward cannot be used; most weights would not depend on the reward;
            the checkpoints were made with other arguments, or are all damaged; too many updates
            in a row had no finite gradient; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the iteration is finished and saved.
    """
    check_prompts(prompts)
    config.check(sampling, len(prompts))

    def make_learner() -> RWRLearner:
        return RWRLearner(
            model, prompts, reward, sampling=sampling, config=config, measures=measures
        )

    return train_lora(
        model,
        make_learner,
        Plan("RWR", "iteration", config.iterations, shown="reward/mean", label="reward"),
        recipe=online_recipe(
            "rwr", model, prompts, sampling=sampling, lora=lora, config=config, identity=identity
        ),
        lora=lora,
        config=config,
        work_dir=work_dir,
        tracker=tracker,
        resume=resume,
        subject=Subject(prompts[0], sampling),
    )
