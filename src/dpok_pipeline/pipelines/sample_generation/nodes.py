"""Nodes of the sample_generation pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dpok_pipeline.datasets.shards import EndOfShards
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
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.config import GenerationConfig, Resume


def generate_sft_samples(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    reward_model: ScorerConfig,
    sampling: SamplingConfig,
    config: GenerationConfig,
    compute: ComputeConfig,
    resume: Resume,
    experiment: str,
    work_folder: Path,
) -> Iterator[pd.DataFrame | EndOfShards]:
    """Draw images of the base model for the training prompts, and score them.

    Yields:
        One frame per shard, saved as it comes, and the end mark.
    """
    from dpok_pipeline.algorithms.sft.generation import generate_samples

    chosen = select_prompts(prompts, experiment, "train")
    yield from generate_samples(
        open_model(base_model, compute),
        list(zip(chosen["prompt_id"], chosen["text"], strict=True)),
        open_scorer(reward_model, compute),
        sampling=sampling,
        config=config,
        work_dir=work_folder,
        identity=scorer_identity(reward_model),
        resume=resume,
    )
    yield EndOfShards(
        {
            "experiment": experiment,
            "base_model": base_model.content_hash,
            "reward": describe_scorer(reward_model),
        }
    )
