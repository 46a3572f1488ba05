"""One call for every algorithm: online methods draw their images, the others are given samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.config import SamplingConfig

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel
    from dpok_pipeline.rewards.scorer import Scorer
    from dpok_pipeline.training.tracking import TrainingResult


def train(
    method: Method,
    model: DiffusionModel,
    prompts: Sequence[str],
    *,
    sampling: SamplingConfig,
    load_reward: Callable[[], Scorer],
    find_samples: Callable[[], Path],
    work_dir: Path,
    first_samples: int | None = None,
) -> TrainingResult:
    """Train a method without Kedro, as the pipelines do with it.

    Args:
        method: The algorithm with its settings.
        model: The base model without a LoRA; it is left without one.
        prompts: The training prompts.
        sampling: How an online method draws its images, and every method its filmstrip.
        load_reward: Gives an online method its reward.
        find_samples: Gives the folder of the finished shards that any other method learns from.
        work_dir: The folder of this run alone.
        first_samples: How many of the samples any other method learns from; None for all.
    """
    from dpok_pipeline.algorithms.sft.samples import COLUMNS, SFTSamples
    from dpok_pipeline.files.shards import Shards

    trainer = method.entry.trainer()
    shared: dict[str, Any] = {
        "lora": method.lora,
        "config": method.training,
        "work_dir": work_dir,
        "sampling": sampling,
    }
    result: TrainingResult
    if method.online:
        result = trainer(model, prompts, load_reward(), **shared)
    else:
        samples = SFTSamples.from_frame(Shards(find_samples()).frame(COLUMNS).iloc[:first_samples])
        result = trainer(model, samples, **shared)
    return result
