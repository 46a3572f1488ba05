"""Reward-weighted supervised fine-tuning, the paper's baseline (Algorithm 2)."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.update import WeightedImages, WeightedRegression, sft_weights
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.errors import InputError
from dpok_pipeline.team.slices import Slices
from dpok_pipeline.team.torch_team import current_team
from dpok_pipeline.training.config import Resume
from dpok_pipeline.training.loop import Plan, Stateful, Step, train_lora
from dpok_pipeline.training.monitoring.filmstrip import Subject
from dpok_pipeline.training.optimiser import LoRAOptimiser
from dpok_pipeline.training.randomness import counter_generator
from dpok_pipeline.training.scoring import not_finite
from dpok_pipeline.training.tracking import Curves, NullTracker, Tracker, TrainingResult


class SFTLearner:
    """The state of an SFT run, and one update of Algorithm 2."""

    def __init__(
        self,
        model: DiffusionModel,
        samples: SFTSamples,
        config: SFTConfig,
    ) -> None:
        """Put the data on the device.

        Args:
            model: The base model with its LoRA attached.
            samples: Images of the base model.
            config: SFT's parameters.

        Raises:
            InputError: Every weight is 0, so that there is nothing to learn from.
        """
        self.samples, self.config = samples, config
        weights = sft_weights(samples.rewards, config.sft_shift, config.regularisation)
        self.positive_weights = int((weights > 0).sum())
        if self.positive_weights == 0:
            raise InputError(
                f"sft: no sample's reward gives a weight above 0 ({config.regularisation}, γ "
                f"{config.sft_shift:g}, highest reward {samples.rewards.max():.3f}); use kl_d "
                "with a larger sft_shift, or other prompts"
            )
        self.images = WeightedImages(
            samples.latents.to(model.device),
            weights.to(model.device),
            samples.prompt_numbers.to(model.device),
        )
        self.optimiser = LoRAOptimiser(model, config)
        self.regression = WeightedRegression(
            model,
            PromptTable.encode(model, samples.prompts),
            self.optimiser,
            loss=config.loss,
            pull=config.sft_shift if config.regularisation == "kl_o" else None,
            microbatch=min(config.microbatch, config.rows_per_update),
            slices=Slices(config.slices, current_team()),
        )
        self._started = time.perf_counter()

    def step(self, number: int) -> Step:
        """Do one update on images drawn at random from all of them."""
        generator = counter_generator(self.config.seed, "sft", number)
        self.regression.update(self.images, self.config.rows_per_update, generator)
        done = number + 1
        # Reading metrics waits for the device: not at every update.
        due = done % self.config.log_every == 0 or done == self.config.updates
        skipped = self.optimiser.skipped_in_a_row
        return Step(
            images_seen=done * self.config.rows_per_update,
            metrics=self._read_metrics() if due else None,
            skipped_in_a_row=skipped,
            why_skipped=self._explain_skipped() if skipped else "",
        )

    def _read_metrics(self) -> dict[str, float]:
        updates = self.regression.updates
        metrics = self.regression.read_metrics()
        now = time.perf_counter()
        seconds, self._started = now - self._started, now
        return {
            **metrics,
            "grad/skipped_updates": self.optimiser.skipped,
            "perf/images_per_second": updates * self.config.rows_per_update / seconds,
        }

    def _explain_skipped(self) -> str:
        prompts = [self.samples.prompts[number] for number in self.samples.prompt_numbers.tolist()]
        return not_finite("the reward of sft_samples", self.samples.rewards, prompts)

    def summary(self, curves: Curves) -> dict[str, Any]:
        """Return a few numbers of the whole run."""
        last, losses = curves.rows[-1], curves.column("policy/loss")
        return {
            "updates": int(last["step"]),
            "rows": int(last["images_seen"]),
            "samples": len(self.samples),
            "positive_weights": self.positive_weights,
            "skipped_updates": self.optimiser.skipped,
            "last_loss": losses[-1],
            "lowest_loss": min(filter(math.isfinite, losses), default=math.nan),
        }

    def parts(self) -> dict[str, Stateful | None]:
        """Return all that has a state, by its name in a checkpoint."""
        return {"optimiser": self.optimiser, "regression": self.regression}


def train_sft(
    model: DiffusionModel,
    samples: SFTSamples,
    *,
    lora: LoRAConfig,
    config: SFTConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    identity: str | Mapping[str, object] = "",
    resume: Resume = "auto",
    sampling: SamplingConfig | None = None,
) -> TrainingResult:
    """Fine-tune a LoRA on images of the base model, each weighted by its reward.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it refuses to.

    Args:
        model: The base model without a LoRA; it is left without one.
        samples: Images of the frozen base model with their rewards.
        lora: The LoRA's rank.
        config: Everything else.
        work_dir: The folder of this run alone, for checkpoints and the finished `lora` folder.
        tracker: Told the metrics every `log_every` updates.
        identity: What identifies the samples besides their content, which is always compared.
        resume: `never` removes the checkpoints that are there.
        sampling: How the filmstrip's pictures are drawn; None draws none. It decides no number.

    Raises:
        InputError: The samples are another base model's, of another latent shape, or all without a
            positive weight; the checkpoints were made with other arguments, or are all damaged;
            too many updates in a row had no finite gradient; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the update is finished and saved.
    """
    _check_origin(samples, model)
    recipe: dict[str, Any] = {
        "algorithm": "sft",
        "sft_training": config.numbers(length=False),
        "lora": lora.numbers(),
        "base_model": model.handle.content_hash,
        "compute": {"precision": model.precision},
        "kernels": model.kernels,
        "sft_samples": _content_hash(samples),
        "identity": identity,
        "prompts": samples.prompts,
    }
    return train_lora(
        model,
        lambda: SFTLearner(model, samples, config),
        Plan("SFT", "update", config.updates, shown="policy/loss", label="loss"),
        recipe=recipe,
        # No part of the recipe, which has the samples' content: it decides what is gone on from.
        extra_metadata={"samples": dict(samples.made_by)} if samples.made_by else {},
        lora=lora,
        config=config,
        work_dir=work_dir,
        tracker=tracker,
        resume=resume,
        subject=None if sampling is None else Subject(samples.prompts[0], sampling),
    )


def _check_origin(samples: SFTSamples, model: DiffusionModel) -> None:
    """Refuse samples that another base model has drawn, be it of the same shape or not."""
    if tuple(samples.latents.shape[1:]) != model.latent_shape:
        raise InputError(
            f"sft_samples: latents of shape {tuple(samples.latents.shape[1:])}, the base model's "
            f"are {model.latent_shape}; run sample_generation with this base model"
        )
    if samples.base_model not in (None, model.handle.content_hash):
        raise InputError(
            f"sft_samples: drawn by the base model {samples.base_model[:12]}, this one is "
            f"{model.handle.content_hash[:12]}; run sample_generation with this base model"
        )


def _content_hash(samples: SFTSamples) -> str:
    digest = hashlib.sha256("\n".join(samples.prompts).encode())
    for tensor in (samples.latents, samples.rewards, samples.prompt_numbers):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
