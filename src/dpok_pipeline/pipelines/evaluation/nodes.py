"""Nodes of the evaluation pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dpok_pipeline.datasets.shards import EndOfShards, Shards
from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.evaluation.metrics import level_metrics
from dpok_pipeline.pipelines.evaluation.sampling import decode_images, sample_models
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_model,
    open_scorer,
    select_prompts,
)
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.training.tracking import Tracker


def draw_evaluation_images(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    sft_lora: Path,
    rl_lora: Path,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    compute: ComputeConfig,
    experiment: str,
) -> Iterator[pd.DataFrame | EndOfShards]:
    """Draw train and unseen prompts with base, SFT and DPOK on the same noise.

    Yields:
        One frame per model and prompt, saved as it comes, and the end mark.
    """
    yield from sample_models(
        open_model(base_model, compute),
        {"base": None, "sft": sft_lora, "rl": rl_lora},
        select_prompts(prompts, experiment, None),
        sampling,
        config,
    )
    yield EndOfShards(
        {
            "experiment": experiment,
            "seed": config.seed,
            "base_model": base_model.content_hash,
            "sft_lora": sft_lora.parent.name,
            "rl_lora": rl_lora.parent.name,
        }
    )


def score_evaluation_images(
    images: Shards,
    scorers: dict[str, ScorerConfig],
    embedder: Path,
    config: EvaluationConfig,
    compute: ComputeConfig,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every image, and embed it.

    Returns:
        The scores, one row per image; the CLIP embeddings `(rows, d)`, with the columns that say
        which image each is of.
    """
    from dpok_pipeline.evaluation.diversity import IMAGE
    from dpok_pipeline.evaluation.scores import embed_images, score_images
    from dpok_pipeline.rewards.clip import ClipEmbedder

    opened = {name: open_scorer(scorer, compute) for name, scorer in scorers.items()}
    clip = ClipEmbedder.from_folder(embedder).to(compute.torch_device())
    scores, embeddings = [], []
    for shard in images:
        pixels = decode_images(shard["image"]).to(compute.torch_device())
        rows = shard.drop(columns="image").assign(image_sha256=_hashes(shard["image"]))
        scored = score_images(pixels, list(shard["prompt"]), opened, config.batch_size)
        scores.append(pd.concat([rows, scored], axis=1))
        embedded = _embedding_table(embed_images(pixels, clip, config.batch_size))
        embeddings.append(pd.concat([rows[IMAGE], embedded], axis=1))
    return pd.concat(scores, ignore_index=True), pd.concat(embeddings, ignore_index=True)


def _hashes(images: pd.Series) -> list[str]:
    return [hashlib.sha256(image["bytes"]).hexdigest() for image in images]


def _embedding_table(embeddings: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(embeddings, columns=[f"d{i}" for i in range(embeddings.shape[1])])


def compare_models(
    scores: pd.DataFrame, embeddings: pd.DataFrame, config: EvaluationConfig, tracker: Tracker
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimate levels, paired differences and win rates, and judge the paper's claims.

    Returns:
        The comparison, one row per number; the claims, one row each.

    Raises:
        InputError: Scores and embeddings are of different images.
    """
    from dpok_pipeline.evaluation.claims import judge_claims
    from dpok_pipeline.evaluation.comparison import compare
    from dpok_pipeline.evaluation.diversity import align

    vectors = align(scores, embeddings).to_numpy()
    comparison = compare(scores, vectors, replicates=config.replicates, seed=config.seed)
    tracker.log(level_metrics(comparison), step=0)
    return comparison, judge_claims(comparison)
