"""Nodes of the rl_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.model_card import describe_scorer, write_model_card
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_model,
    open_scorer,
    scorer_identity,
    select_prompts,
)
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.rewards.load import ScorerConfig


def train_online_lora(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    reward_model: ScorerConfig,
    scorers: dict[str, ScorerConfig],
    embedder: Path,
    sampling: SamplingConfig,
    method: Method,
    compute: ComputeConfig,
    task: Task,
) -> tuple[Path, pd.DataFrame, pd.DataFrame | None]:
    """Fine-tune on images that the policy draws while it learns, by the method's algorithm.

    Returns:
        The folder of the finished LoRA, the learning curves, and the filmstrip.
    """
    from dpok_pipeline.pipelines.rl_training.measures import make_measures

    texts = list(select_prompts(prompts, task.experiment, "train")["text"])
    result = method.entry.trainer()(
        open_model(base_model, compute),
        texts,
        open_scorer(reward_model, compute),
        sampling=sampling,
        lora=method.lora,
        config=method.training,
        work_dir=task.folder,
        identity=scorer_identity(reward_model),
        resume=task.resume,
        measures=make_measures(scorers, embedder, compute),
        tracker=MlflowTracker(task.tracker),
    )
    write_model_card(
        result.lora_folder,
        method=method,
        base_model=base_model,
        prompts=texts,
        reward=describe_scorer(reward_model),
        sampling=sampling,
        scores=result.summary,
    )
    return result.lora_folder, result.curves, result.filmstrip
