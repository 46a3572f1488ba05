"""Nodes of the sft_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.datasets.shards import Shards
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.pipelines.model_card import write_model_card
from dpok_pipeline.pipelines.models import ComputeConfig, open_model
from dpok_pipeline.training.config import Resume, SFTConfig
from dpok_pipeline.training.tracking import Tracker

# What the model card says of the parameters; metadata.json has all.
BUDGET = {"seed", "updates", "rows_per_update", "learning_rate", "regularisation", "sft_shift"}


def train_sft_lora(
    samples: Shards,
    base_model: BaseModelHandle,
    lora: LoRAConfig,
    config: SFTConfig,
    compute: ComputeConfig,
    resume: Resume,
    work_folder: Path,
    tracker: Tracker,
) -> tuple[Path, pd.DataFrame]:
    """Fine-tune by reward-weighted supervision (the paper's Algorithm 2).

    Returns:
        The folder of the finished LoRA, and the learning curves.
    """
    from dpok_pipeline.algorithms.sft.samples import COLUMNS, SFTSamples
    from dpok_pipeline.algorithms.sft.train import train_sft

    data = SFTSamples.from_frame(samples.frame(COLUMNS))
    result = train_sft(
        open_model(base_model, compute),
        data,
        lora=lora,
        config=config,
        work_dir=work_folder,
        tracker=tracker,
        resume=resume,
    )
    write_model_card(
        result.lora_folder,
        method="sft",
        base_model=base_model,
        prompts=data.prompts,
        reward=samples.metadata.get("reward", "not recorded with the samples"),
        budget={**lora.model_dump(), **config.model_dump(include=BUDGET)},
        scores={"mean_reward_of_samples": float(data.rewards.mean()), **result.summary},
    )
    return result.lora_folder, result.curves
