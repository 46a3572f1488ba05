"""What is measured: the engine's own functions and learners, as training calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Measurement, measure
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.train import DPOKLearner
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.rwr.train import RWRLearner
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.train import SFTLearner
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import attached_lora
from dpok_pipeline.diffusion.sampler import Samples, decode, sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.scorer import Scorer
from dpok_pipeline.training.scoring import score_rewards

PROMPT = "A dog on the moon."


@dataclass(frozen=True)
class Setting:
    """What is measured, in which sizes.

    Attributes:
        model: The base model without a LoRA.
        reward: The reward model.
        sampling: Steps, η and guidance.
        repeats: Number of timed calls.
    """

    model: DiffusionModel
    reward: Scorer
    sampling: SamplingConfig
    repeats: int

    def measure(
        self, name: str, unit: str, units: int, function: Callable[[], object]
    ) -> Measurement:
        """Time a function that makes so many units on the model's device."""
        return measure(name, unit, units, function, self.model.device, self.repeats)


def run_cases(setting: Setting, methods: Sequence[Method]) -> list[Measurement]:
    """Measure what the methods do while they train, one case after the other.

    Args:
        setting: Models and sampling.
        methods: The methods, each of an algorithm that is measured.

    Returns:
        Of a method that draws images: rollout, decoding, reward, DPOK's policy update, and a whole
        iteration; of SFT: an update. Cases are named after the method.

    Raises:
        InputError: A method's algorithm is one whose parts are not measured here.
    """
    return [case for method in methods for case in _method_cases(setting, method)]


def is_measured(method: Method) -> bool:
    """Say whether there are cases for a method's algorithm."""
    return isinstance(method.training, DPOKConfig | RWRConfig | SFTConfig)


def _method_cases(setting: Setting, method: Method) -> Iterator[Measurement]:
    config, model, name = method.training, setting.model, method.name
    with attached_lora(model.unet, method.lora, seed=0):
        if isinstance(config, SFTConfig):
            yield _sft_update(setting, name, config)
            return
        learner: DPOKLearner | RWRLearner
        online: dict[str, Any] = {"sampling": setting.sampling, "measures": {}}
        if isinstance(config, DPOKConfig):
            learner = DPOKLearner(model, [PROMPT], setting.reward, config=config, **online)
        elif isinstance(config, RWRConfig):
            learner = RWRLearner(model, [PROMPT], setting.reward, config=config, **online)
        else:
            raise InputError(f"{name}: the parts of {method.algorithm} are not measured")
        yield from _online_cases(setting, name, learner)


def _online_cases(
    setting: Setting, name: str, learner: DPOKLearner | RWRLearner
) -> Iterator[Measurement]:
    """Measure every part of an iteration, and then the whole of it."""
    model, reward, config = setting.model, setting.reward, learner.config
    count = config.images_per_iteration

    def draw_rollout() -> Samples:
        return sample(
            model,
            [PROMPT] * count,
            setting.sampling,
            seed=0,
            indices=range(count),
            batch_size=config.rollout_batch,
            keep_trajectory=isinstance(learner, DPOKLearner),
        )

    samples = draw_rollout()

    def decode_rollout() -> Tensor:
        return decode(model, samples.latents, config.rollout_batch)

    images = decode_rollout()
    yield setting.measure(f"{name} rollout", "image", count, draw_rollout)
    yield setting.measure(f"{name} decoding", "image", count, decode_rollout)
    yield setting.measure(
        f"{name} reward", "image", count, lambda: score_rewards(reward, images, [PROMPT] * count)
    )
    if isinstance(learner, DPOKLearner):
        yield _policy_update(setting, name, learner, samples)
    # Always the first iteration's draws: what is timed does not depend on them.
    yield setting.measure(f"{name} iteration", "iteration", 1, lambda: learner.step(0))


def _policy_update(
    setting: Setting, name: str, learner: DPOKLearner, samples: Samples
) -> Measurement:
    """Measure an update: reference forward, policy forward and backward of every row."""
    count = len(samples.latents)
    rewards = torch.randn(count, device=setting.model.device)
    learner.buffer.add(samples, rewards, torch.zeros(count, dtype=torch.int64))
    learner.advantages.measure(learner.buffer)
    rows = learner.draw_rows(0)[0]
    return setting.measure(
        f"{name} update",
        "transition",
        len(rows),
        lambda: learner.policy.update(learner.buffer, rows, learner.advantages),
    )


def _sft_update(setting: Setting, name: str, config: SFTConfig) -> Measurement:
    """Measure an update: without guidance, half the rows of DPOK's go through the UNet."""
    count = config.rows_per_update
    latents = torch.randn(count, *setting.model.latent_shape)
    data = SFTSamples(
        latents=latents,
        rewards=torch.ones(count),
        prompts=[PROMPT],
        prompt_numbers=torch.zeros(count, dtype=torch.int64),
    )
    learner = SFTLearner(setting.model, data, config)
    return setting.measure(f"{name} update", "image", count, lambda: learner.step(0))
