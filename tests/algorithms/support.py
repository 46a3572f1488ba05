"""What several tests of training need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.config import DPOKConfig, ValueConfig
from dpok_pipeline.algorithms.dpok.train import train_dpok
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.training.config import Resume
from dpok_pipeline.training.rollouts.alarms import Measure
from dpok_pipeline.training.tracking import TrainingResult

PROMPTS = ("A cat.", "A dog on the moon.", "A green colored rabbit.")
SAMPLING = SamplingConfig(ddim_steps=3, guidance_scale=3)
LORA = LoRAConfig(rank=2)


class Brightness:
    """Rewards red: one number per image, spread about 0."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return (images[:, 0].mean((1, 2)) - 0.5) * 20


def small_config(**changes: Any) -> DPOKConfig:
    values: dict[str, Any] = {
        "iterations": 3,
        "images_per_iteration": 4,
        "updates_per_iteration": 2,
        "transitions_per_update": 8,
        "microbatch": 8,
        "learning_rate": 1e-2,
        "ratio_clip": 1e-3,
        "value": ValueConfig(hidden_size=8, minibatch=8, learning_rate=1e-2),
        "checkpoint_every": 1,
    }
    return DPOKConfig(**{**values, **changes})


def run_dpok(
    model: DiffusionModel,
    work_dir: Path,
    reward: Any = None,
    prompts: Sequence[str] = PROMPTS,
    resume: Resume = "auto",
    measures: Mapping[str, Measure] | None = None,
    **changes: Any,
) -> TrainingResult:
    return train_dpok(
        model,
        prompts,
        reward or Brightness(),
        sampling=SAMPLING,
        lora=LORA,
        config=small_config(**changes),
        work_dir=work_dir,
        resume=resume,
        measures=measures or {},
    )


def lora_bytes(result: TrainingResult) -> bytes:
    return (result.lora_folder / "pytorch_lora_weights.safetensors").read_bytes()


def lora_tensors(result: TrainingResult) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    loaded: dict[str, Tensor] = load_file(result.lora_folder / "pytorch_lora_weights.safetensors")
    return loaded


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
