"""Figures, contact sheets and reports, from what the other nodes measured."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pandas as pd

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.datasets.shards import Shards
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.evaluation.metrics import level_metrics
from dpok_pipeline.training.config import DPOKConfig, GenerationConfig, SFTConfig
from dpok_pipeline.training.tracking import Tracker

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL.Image import Image

SHEET_COLUMNS = 8

Sections = dict[str, dict[str, str]]


def draw_figures(
    comparison: pd.DataFrame, rl_curves: pd.DataFrame, sft_curves: pd.DataFrame
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Draw the paper's figures for one experiment.

    Returns:
        Reward bars of training prompts, learning curves, reward against KL.
    """
    from dpok_pipeline.evaluation.names import reward_name
    from dpok_pipeline.report.plots import learning_curves, reward_against_kl, score_bars

    curves = {"rl": rl_curves, "sft": sft_curves}
    return (
        score_bars(comparison, reward_name(set(comparison["metric"]))),
        learning_curves(curves, comparison),
        reward_against_kl(curves, comparison),
    )


def draw_contact_sheets(images: Shards, scores: pd.DataFrame) -> tuple[Image, Image]:
    """Put the same noises side by side for base, SFT and DPOK.

    Returns:
        The sheet of the first training prompt and that of the first unseen one.
    """
    pictures = pd.concat(_first_pictures(shard) for shard in images)
    return _sheet(pictures, scores, "train"), _sheet(pictures, scores, "unseen")


def _first_pictures(shard: pd.DataFrame) -> pd.DataFrame:
    return shard[shard["index"] < SHEET_COLUMNS]


def _sheet(pictures: pd.DataFrame, scores: pd.DataFrame, split: str) -> Image:
    from PIL import Image

    from dpok_pipeline.evaluation.names import reward_name
    from dpok_pipeline.report.contact_sheet import contact_sheet

    reward = reward_name(scores.columns)
    rows = pictures.merge(scores[["prompt_id", "model", "index", reward]])
    rows = rows[rows["split"] == split]
    rows = rows[rows["prompt_id"] == rows["prompt_id"].min()]
    by_model = {str(model): part.sort_values("index") for model, part in rows.groupby("model")}
    return contact_sheet(
        {
            model: [Image.open(BytesIO(image["bytes"])) for image in part["image"]]
            for model, part in by_model.items()
        },
        prompt=str(rows["prompt"].iloc[0]),
        indices=sorted(rows["index"].unique()),
        scores={model: list(part[reward]) for model, part in by_model.items()},
    )


def gather_report_parts(
    experiment: str,
    scores: pd.DataFrame,
    embeddings: pd.DataFrame,
    rl_curves: pd.DataFrame,
    sft_curves: pd.DataFrame,
    train_sheet: Image,
    unseen_sheet: Image,
    provenance: Sections,
) -> ReportParts:
    """Bundle what reports show of one experiment."""
    from dpok_pipeline.evaluation.diversity import align

    curves = {"rl": rl_curves, "sft": sft_curves}
    sheets = [train_sheet, unseen_sheet]
    aligned = align(scores, embeddings)
    return ReportParts(experiment, scores, aligned, curves, sheets, provenance)


def write_report(comparison: pd.DataFrame, claims: pd.DataFrame, *parts: ReportParts | None) -> str:
    """Write a self-contained page on one experiment, or on all that have been evaluated."""
    from dpok_pipeline.report.page import render_report

    there = _present(parts)
    return render_report(
        comparison,
        claims,
        curves={part.experiment: part.curves for part in there},
        sheets={part.experiment: part.sheets for part in there},
        provenance=_joint_provenance(there),
    )


def _joint_provenance(parts: list[ReportParts]) -> Sections:
    """Keep what the experiments share once, and what each was made from."""
    *_, newest = parts
    runs = {f"Run of {part.experiment}": part.provenance["Run"] for part in parts}
    shared = {title: rows for title, rows in newest.provenance.items() if title != "Run"}
    return {**runs, **shared}


def describe_making(
    sampling: SamplingConfig,
    lora: LoRAConfig,
    generation: GenerationConfig,
    sft: SFTConfig,
    rl: DPOKConfig,
    evaluation: EvaluationConfig,
    images: Shards,
) -> Sections:
    """Say how an experiment was made: parameters, versions, machine, commit."""
    from dpok_pipeline.report.provenance import collect_provenance

    parameters = {
        "sampling": sampling,
        "lora": lora,
        "sample_generation": generation,
        "sft_training": sft,
        "rl_training": rl,
        "evaluation": evaluation,
    }
    return collect_provenance(parameters, run=images.metadata)


def compare_experiments(
    config: EvaluationConfig, tracker: Tracker, *parts: ReportParts | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare over all experiments that have been evaluated.

    Returns:
        The joint comparison, with means over prompts; the claims of all.
    """
    from dpok_pipeline.evaluation.claims import judge_claims
    from dpok_pipeline.evaluation.comparison import compare

    there = _present(parts)
    comparison = compare(
        pd.concat([part.scores for part in there], ignore_index=True),
        pd.concat([part.embeddings for part in there]).to_numpy(),
        replicates=config.replicates,
        seed=config.seed,
    )
    tracker.log(level_metrics(comparison[comparison["prompt_id"] == "mean"]), step=0)
    return comparison, judge_claims(comparison)


def _present(parts: tuple[ReportParts | None, ...]) -> list[ReportParts]:
    there = [part for part in parts if part is not None]
    if not there:
        raise InputError("no experiment has been evaluated yet: run evaluation first")
    return there
