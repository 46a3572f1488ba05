"""Nodes of the sample_generation pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.pipelines.model_card import describe_scorer
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_model,
    open_scorer,
    scorer_identity,
    select_prompts,
)
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.config import GenerationConfig


def generate_sft_samples(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    reward_model: ScorerConfig,
    sampling: SamplingConfig,
    config: GenerationConfig,
    compute: ComputeConfig,
    task: Task,
) -> Path:
    """Draw images of the base model for the training prompts, and score them.

    Returns:
        The folder of the finished shards.
    """
    from dpok_pipeline.algorithms.sft.generation import generate_samples

    rows = select_prompts(prompts, task.experiment, "train")
    return generate_samples(
        open_model(base_model, compute),
        list(zip(rows["prompt_id"], rows["text"], strict=True)),
        open_scorer(reward_model, compute),
        sampling=sampling,
        config=config,
        work_dir=task.folder,
        identity=scorer_identity(reward_model),
        resume=task.resume,
        metadata={"experiment": task.experiment, "reward": describe_scorer(reward_model)},
    )
