"""Nodes of the sft_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.model_card import write_model_card
from dpok_pipeline.pipelines.models import ComputeConfig, open_model
from dpok_pipeline.pipelines.task import Task


def train_offline_lora(
    samples: Shards,
    base_model: BaseModelHandle,
    sampling: SamplingConfig,
    method: Method,
    compute: ComputeConfig,
    task: Task,
) -> tuple[Path, pd.DataFrame, pd.DataFrame | None]:
    """Fine-tune on the stored samples, by the method's algorithm.

    Returns:
        The folder of the finished LoRA, the learning curves, and the filmstrip.
    """
    from dpok_pipeline.algorithms.sft.samples import SFTSamples

    data = SFTSamples.from_shards(samples)
    result = method.entry.trainer()(
        open_model(base_model, compute),
        data,
        lora=method.lora,
        config=method.training,
        work_dir=task.folder,
        tracker=MlflowTracker(task.tracker),
        resume=task.resume,
        sampling=sampling,
    )
    write_model_card(
        result.lora_folder,
        method=method,
        base_model=base_model,
        prompts=data.prompts,
        reward=samples.metadata.get("reward", "not recorded with the samples"),
        scores={"mean_reward_of_samples": float(data.rewards.mean()), **result.summary},
    )
    return result.lora_folder, result.curves, result.filmstrip
