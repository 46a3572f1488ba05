"""Reward-weighted supervised fine-tuning, the paper's baseline (Algorithm 2)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.diffusion.lora import attach_lora, detach_lora, save_lora
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.checkpoints import CheckpointStore, fingerprint
from dpok_pipeline.training.config import SFTConfig
from dpok_pipeline.training.result import TrainingResult
from dpok_pipeline.training.sft_samples import SFTSamples
from dpok_pipeline.training.sft_update import SFTUpdater
from dpok_pipeline.training.tracking import NullTracker, Tracker

_NO_PART_OF_THE_NUMBERS = {"updates", "checkpoint_every"}


def train_sft(
    model: DiffusionModel,
    samples: SFTSamples,
    *,
    lora: LoRAConfig,
    config: SFTConfig,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    identity: str = "",
) -> TrainingResult:
    """Fine-tune a LoRA on images of the base model, each weighted by its reward.

    Started again with the same arguments it goes on from the newest whole checkpoint in
    `work_dir`, bit-identically on a CPU; with other arguments it starts anew.

    Args:
        model: without a LoRA; it is left without one.
        samples: images of the frozen base model with their rewards.
        lora: the rank.
        config: everything else.
        work_dir: of this run alone; holds checkpoints and the finished `lora` folder.
        tracker: told the metrics every `log_every` updates.
        identity: what else decides the numbers.

    Raises:
        InputError: the samples are of another latent shape, or none has a positive weight.
    """
    if tuple(samples.latents.shape[1:]) != model.latent_shape:
        raise InputError(
            f"sft_samples: latents of shape {tuple(samples.latents.shape[1:])}, the base model's "
            f"are {model.latent_shape}; run sample_generation with this base model"
        )
    attach_lora(model.unet, lora, derive_seed(config.seed, "lora"))
    try:
        parts = {
            "method": "sft",
            "config": config.model_dump(exclude=_NO_PART_OF_THE_NUMBERS),
            "lora": lora.model_dump(),
            "base_model": model.handle.content_hash,
            "precision": model.precision,
            "samples": _content_hash(samples),
            "identity": identity,
        }
        store = CheckpointStore(work_dir / "checkpoints", fingerprint(parts))
        updater = SFTUpdater(model, samples, config)
        curves = _run(updater, config, store, tracker)
        folder = work_dir / "lora"
        save_lora(model.unet, folder, {**parts, "updates": config.updates})
        return _result(folder, curves, updater)
    finally:
        detach_lora(model.unet)


def _run(
    updater: SFTUpdater, config: SFTConfig, store: CheckpointStore, tracker: Tracker
) -> list[dict[str, float]]:
    curves: list[dict[str, float]] = []
    found = store.load_newest(at_most=config.updates)
    done = 0
    if found is not None:
        done, state = found
        updater.load_state_dict(state["updater"])
        curves = state["curves"]
    with tqdm(total=config.updates, initial=done, desc="SFT", unit="update") as bar:
        while done < config.updates:
            updater.update(done)
            done += 1
            if done % config.log_every == 0 or done == config.updates:
                metrics = updater.read_metrics()
                curves.append(
                    {"step": done, "images_seen": done * config.rows_per_update, **metrics}
                )
                tracker.log(metrics, done)
                bar.set_postfix(loss=f"{metrics['policy/loss']:.4f}")
            if done % config.checkpoint_every == 0 or done == config.updates:
                store.save(done, {"updater": updater.state_dict(), "curves": curves})
            bar.update()
    return curves


def _result(folder: Path, curves: list[dict[str, float]], updater: SFTUpdater) -> TrainingResult:
    import pandas as pd

    summary: dict[str, Any] = {
        "updates": int(curves[-1]["step"]),
        "rows": int(curves[-1]["images_seen"]),
        "samples": len(updater.samples),
        "positive_weights": updater.positive_weights,
        "skipped_updates": updater.optimiser.skipped,
        "last_loss": curves[-1]["policy/loss"],
    }
    return TrainingResult(folder, pd.DataFrame(curves), summary)


def _content_hash(samples: SFTSamples) -> str:
    digest = hashlib.sha256("\n".join(samples.prompts).encode())
    for tensor in (samples.latents, samples.rewards, samples.prompt_numbers):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
