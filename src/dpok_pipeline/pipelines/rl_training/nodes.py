"""Nodes of the rl_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.pipelines.inputs import (
    ComputeConfig,
    open_model,
    open_scorer,
    scorer_identity,
    select_prompts,
)
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.config import DPOKConfig, Resume
from dpok_pipeline.training.tracking import Tracker


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
    from dpok_pipeline.pipelines.rl_training.measures import make_measures
    from dpok_pipeline.training.dpok import train_dpok

    result = train_dpok(
        open_model(base_model, compute),
        list(select_prompts(prompts, experiment, "train")["text"]),
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
    return result.lora_folder, result.curves
