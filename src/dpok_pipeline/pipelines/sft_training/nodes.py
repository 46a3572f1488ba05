"""Nodes of the sft_training pipeline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.datasets.shards import Shards
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.pipelines.inputs import ComputeConfig, open_model
from dpok_pipeline.training.config import Resume, SFTConfig
from dpok_pipeline.training.tracking import Tracker


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
    from dpok_pipeline.training.sft import train_sft
    from dpok_pipeline.training.sft_samples import COLUMNS, SFTSamples

    result = train_sft(
        open_model(base_model, compute),
        SFTSamples.from_frame(samples.frame(COLUMNS)),
        lora=lora,
        config=config,
        work_dir=work_folder,
        tracker=tracker,
        resume=resume,
    )
    return result.lora_folder, result.curves
