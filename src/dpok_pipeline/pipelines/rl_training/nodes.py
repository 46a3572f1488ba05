"""Nodes of the rl_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.pipelines.model_card import describe_scorer, write_model_card
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_model,
    open_scorer,
    scorer_identity,
    select_prompts,
)
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.config import DPOKConfig, Resume
from dpok_pipeline.training.tracking import Tracker

# What the model card says of the parameters; metadata.json has all.
BUDGET = {
    "seed",
    "iterations",
    "images_per_iteration",
    "updates_per_iteration",
    "transitions_per_update",
    "learning_rate",
    "reward_weight",
    "kl_weight",
}


def train_rl_lora(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    reward_model: ScorerConfig,
    scorers: dict[str, ScorerConfig],
    embedder: Path,
    sampling: SamplingConfig,
    lora: LoRAConfig,
    config: DPOKConfig,
    compute: ComputeConfig,
    resume: Resume,
    experiment: str,
    work_folder: Path,
    tracker: Tracker,
) -> tuple[Path, pd.DataFrame]:
    """Fine-tune by DPOK (the paper's Algorithm 1).

    Returns:
        The folder of the finished LoRA, and the learning curves.
    """
    from dpok_pipeline.algorithms.dpok.train import train_dpok
    from dpok_pipeline.pipelines.rl_training.measures import make_measures

    texts = list(select_prompts(prompts, experiment, "train")["text"])
    result = train_dpok(
        open_model(base_model, compute),
        texts,
        open_scorer(reward_model, compute),
        sampling=sampling,
        lora=lora,
        config=config,
        work_dir=work_folder,
        identity=scorer_identity(reward_model),
        resume=resume,
        measures=make_measures(scorers, embedder, compute) if config.alarm_deviations else {},
        tracker=tracker,
    )
    write_model_card(
        result.lora_folder,
        method="rl",
        base_model=base_model,
        prompts=texts,
        reward=describe_scorer(reward_model),
        budget={**sampling.model_dump(), **lora.model_dump(), **config.model_dump(include=BUDGET)},
        scores=result.summary,
    )
    return result.lora_folder, result.curves
