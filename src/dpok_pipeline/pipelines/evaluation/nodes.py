"""Nodes that draw images, score them and compare their methods."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpok_pipeline.diffusion.base_model import BaseModelHandle
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.evaluation.config import ComparisonConfig, EvaluationConfig
from dpok_pipeline.files.manifest import folder_digest
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.pipelines.evaluation.tables import Tables, join_methods
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    open_embedder,
    open_model,
    open_scorer,
    scoring_identity,
    select_prompts,
)
from dpok_pipeline.pipelines.origins import IMAGES
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.rewards.load import ScorerConfig


def draw_base_images(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    compute: ComputeConfig,
    task: Task,
) -> Path:
    """Draw images of train and unseen prompts with the base model, once for all methods.

    Returns:
        The folder of the finished shards.
    """
    return draw_method_images(prompts, base_model, None, sampling, config, compute, task)


def draw_method_images(
    prompts: pd.DataFrame,
    base_model: BaseModelHandle,
    lora: Path | None,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    compute: ComputeConfig,
    task: Task,
) -> Path:
    """Draw images of train and unseen prompts with a LoRA, on the noise that all methods share.

    Returns:
        The folder of the finished shards.
    """
    from dpok_pipeline.diffusion.lora import read_metadata
    from dpok_pipeline.evaluation import drawing

    return drawing.draw_method_images(
        open_model(base_model, compute),
        lora=lora,
        method=task.method,
        prompts=select_prompts(prompts, task.experiment, None),
        sampling=sampling,
        config=config,
        work_dir=task.folder,
        resume=task.resume,
        metadata={
            "experiment": task.experiment,
            "training": {} if lora is None else read_metadata(lora),
            "version": "" if lora is None else lora.parent.name,
        },
    )


def score_images(
    images: Shards,
    scorers: dict[str, ScorerConfig],
    embedder: Path,
    config: EvaluationConfig,
    compute: ComputeConfig,
    task: Task,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every image, and embed it.

    Returns:
        The scores, one row per image, with the digest of the images' folder in their `attrs`, and
        the CLIP embeddings `(rows, d)`, with the columns that identify each row's image.
    """
    from dpok_pipeline.evaluation.scores import score_shards

    scores, embeddings = score_shards(
        images,
        {name: open_scorer(scorer, compute) for name, scorer in scorers.items()},
        open_embedder(embedder, compute),
        device=compute.torch_device(),
        batch_size=config.batch_size,
        scored_by=scoring_identity(scorers, embedder),
    )
    # A later command may find other images beside them.
    scores.attrs[IMAGES] = folder_digest(images.folder)
    return scores, embeddings


def compare_methods(
    config: EvaluationConfig, comparison: ComparisonConfig, task: Task, *tables: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimate levels, paired differences and win rates, and judge the claims.

    Args:
        config: Parameters of the evaluation, among them the replicates behind each interval.
        comparison: Methods, contrasts and claims.
        task: The node's task, which says where its levels are logged.
        tables: The scores of base model and methods, then their embeddings, in the order of
            `comparison.methods`.

    Returns:
        The comparison, one row per number, and the claims, one row each.

    Raises:
        InputError: The tables were not made alike, or scores and embeddings are of different
            images.
    """
    return compare_and_judge(join_methods(tables), config, comparison, MlflowTracker(task.tracker))


def compare_and_judge(
    tables: Tables, config: EvaluationConfig, comparison: ComparisonConfig, tracker: MlflowTracker
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the methods by their tables, log the levels, and judge the claims.

    Returns:
        The comparison, one row per number, and the claims, one row each.
    """
    from dpok_pipeline.evaluation.claims import judge_claims
    from dpok_pipeline.evaluation.comparison import compare, contrasts_of
    from dpok_pipeline.evaluation.reading import level_metrics

    names = [method.name for method in comparison.methods]
    result = compare(
        tables.scores,
        tables.embeddings,
        methods=names,
        contrasts=contrasts_of(names, comparison),
        replicates=config.replicates,
        seed=config.seed,
    )
    tracker.log(level_metrics(result, names), step=0)
    return result, judge_claims(result, comparison.claims, comparison.methods)
