"""Reward-weighted supervised fine-tuning, the paper's baseline (Algorithm 2)."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dpok_pipeline.algorithms.sft.samples import SFTSamples
from dpok_pipeline.algorithms.sft.update import SFTUpdater
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.diffusion.lora import attached_lora, save_lora
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import claim
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import CheckpointConfig, Resume, SFTConfig
from dpok_pipeline.training.randomness import capture_states, restore_states
from dpok_pipeline.training.result import TrainingResult
from dpok_pipeline.training.scoring import not_finite, stop_after_skipped
from dpok_pipeline.training.signals import stop_requests
from dpok_pipeline.training.tracking import NullTracker, Tracker

logger = logging.getLogger(__name__)

_NO_PART_OF_THE_NUMBERS = {"updates", "log_every", *CheckpointConfig.model_fields}


def train_sft(
    model: DiffusionModel,
    samples: SFTSamples,
    *,
    lora: LoRAConfig,
    config: SFTConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    resume: Resume = "auto",
) -> TrainingResult:
    """Fine-tune a LoRA on images of the base model, each weighted by its reward.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it refuses to.

    Args:
        model: without a LoRA; it is left without one.
        samples: images of the frozen base model with their rewards.
        lora: the rank.
        config: everything else.
        work_dir: of this run alone; holds checkpoints and the finished `lora` folder.
        tracker: told the metrics every `log_every` updates.
        resume: `never` removes the checkpoints that are there.

    Raises:
        InputError: the samples are of another latent shape, or none has a positive weight; the
            checkpoints were made with other arguments, or are all damaged; too many updates in
            a row had no finite gradient; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the update is finished and saved.
    """
    if tuple(samples.latents.shape[1:]) != model.latent_shape:
        raise InputError(
            f"sft_samples: latents of shape {tuple(samples.latents.shape[1:])}, the base model's "
            f"are {model.latent_shape}; run sample_generation with this base model"
        )
    with claim(work_dir), attached_lora(model.unet, lora, derive_seed(config.seed, "lora")):
        made_by = {
            "method": "sft",
            "sft_training": config.model_dump(exclude=_NO_PART_OF_THE_NUMBERS),
            "lora": lora.model_dump(),
            "base_model": model.handle.content_hash,
            "compute": {"precision": model.precision},
            "sft_samples": _content_hash(samples),
            "prompts": samples.prompts,
        }
        store = CheckpointStore(work_dir / "checkpoints", made_by, config, resume)
        updater = SFTUpdater(model, samples, config)
        curves = _run(updater, config, store, tracker)
        folder = work_dir / "lora"
        save_lora(model.unet, folder, {**made_by, "updates": config.updates})
        return _result(folder, curves, updater, store.seconds_spent())


def _run(
    updater: SFTUpdater, config: SFTConfig, store: CheckpointStore, tracker: Tracker
) -> list[dict[str, float]]:
    done, curves = _restore(updater, store, config.updates)
    bar = tqdm(total=config.updates, initial=done, desc="SFT", unit="update")
    with bar, stop_requests("update") as stop:
        while done < config.updates:
            updater.update(done)
            done += 1
            if done % config.log_every == 0 or done == config.updates:
                metrics = updater.read_metrics()
                metrics["perf/checkpoint_seconds"] = store.seconds_spent()
                seen = done * config.rows_per_update
                curves.append({"step": done, "images_seen": seen, **metrics})
                tracker.log(metrics, done)
                bar.set_postfix(loss=f"{metrics['policy/loss']:.4f}")
            stopping = bool(stop)
            skipped = updater.optimiser.skipped_in_a_row
            if skipped:
                stop_after_skipped(skipped, config, _why_skipped(updater), store.newest())
            else:
                ends = stopping or done == config.updates
                store.save_if_due(done, lambda: _state(updater, curves), at_once=ends)
            bar.update()
            if stopping:
                stop.obey()
    return curves


def _state(updater: SFTUpdater, curves: list[dict[str, float]]) -> dict[str, Any]:
    lowest = min((row["policy/loss"] for row in curves), default=None)
    return {
        "updater": updater.state_dict(),
        "curves": curves,
        "best": {"policy/loss": lowest},
        "random_states": capture_states(),
    }


def _restore(
    updater: SFTUpdater, store: CheckpointStore, updates: int
) -> tuple[int, list[dict[str, float]]]:
    """Updates done and curves so far, from the newest checkpoint."""
    found = store.load_newest(at_most=updates)
    if found is None:
        return 0, []
    done, state = found
    updater.load_state_dict(state["updater"])
    restore_states(state["random_states"])
    logger.info("Going on from update %d", done)
    curves: list[dict[str, float]] = state["curves"]
    return done, curves


def _why_skipped(updater: SFTUpdater) -> str:
    samples = updater.samples
    prompts = [samples.prompts[number] for number in samples.prompt_numbers.tolist()]
    return not_finite("the reward of sft_samples", samples.rewards, prompts)


def _result(
    folder: Path, curves: list[dict[str, float]], updater: SFTUpdater, last_save: float
) -> TrainingResult:
    import pandas as pd

    summary: dict[str, Any] = {
        "updates": int(curves[-1]["step"]),
        "rows": int(curves[-1]["images_seen"]),
        "samples": len(updater.samples),
        "positive_weights": updater.positive_weights,
        "skipped_updates": updater.optimiser.skipped,
        "last_loss": curves[-1]["policy/loss"],
        "lowest_loss": min(row["policy/loss"] for row in curves),
        "checkpoint_seconds": sum(row["perf/checkpoint_seconds"] for row in curves) + last_save,
    }
    return TrainingResult(folder, pd.DataFrame(curves), summary)


def _content_hash(samples: SFTSamples) -> str:
    digest = hashlib.sha256("\n".join(samples.prompts).encode())
    for tensor in (samples.latents, samples.rewards, samples.prompt_numbers):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
