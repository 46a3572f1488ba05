"""Nodes of the human study: which images raters see, the page, the key, and the count of votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ComparisonConfig, EvaluationConfig
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.study.config import StudyConfig
from dpok_pipeline.study.votes import Votes

if TYPE_CHECKING:
    import plotly.graph_objects as go


def choose_study_sets(
    config: StudyConfig, comparison: ComparisonConfig, *images: Shards
) -> pd.DataFrame:
    """Choose the sets of images that an experiment offers to the study.

    Args:
        config: How many pairs, and the seed.
        comparison: Methods and contrasts.
        images: Images of base model and methods, in the order of `comparison.methods`.
    """
    from dpok_pipeline.study.pairs import choose_sets, study_contrasts

    contrasts = study_contrasts(comparison)
    shown = {name for pair in contrasts for name in pair}
    by_method = {
        method.name: shards
        for method, shards in zip(comparison.methods, images, strict=True)
        if method.name in shown
    }
    return choose_sets(by_method, contrasts, config)


def make_study_page(config: StudyConfig, *sets: pd.DataFrame | None) -> tuple[str, dict[str, Any]]:
    """Make the page for raters, and the key that says which method is on which side.

    Args:
        config: How many pairs, and the seed.
        sets: What each experiment offers; None for one that has not been evaluated.

    Raises:
        InputError: No experiment has been evaluated.
    """
    from dpok_pipeline.study.page import render_study
    from dpok_pipeline.study.pairs import make_study

    offered = [table for table in sets if table is not None]
    if not offered:
        raise InputError("no experiment has been evaluated yet: run evaluation first")
    study = make_study(offered, config)
    return render_study(study), study.key


def count_votes(
    config: StudyConfig,
    evaluation: EvaluationConfig,
    comparison: ComparisonConfig,
    key: dict[str, Any],
    votes: Votes,
    *parts: ReportParts | None,
) -> tuple[pd.DataFrame, go.Figure]:
    """Count the votes of people and of the stand-in, and draw them.

    Args:
        config: The stand-in's margin.
        evaluation: Replicates behind each interval, and their seed.
        comparison: Labels and colours of the methods.
        key: The study's key.
        votes: The raters' files.
        parts: What the experiments contribute to reports, the scores among it.

    Raises:
        InputError: A file is of another page, or has not a vote for each pair.
    """
    from dpok_pipeline.study.results import tally
    from dpok_pipeline.study.section import preference_figure
    from dpok_pipeline.study.stand_in import pictures_of_page, stand_in_votes
    from dpok_pipeline.study.votes import check_votes

    check_votes(votes, key)
    scores = pd.concat([part.scores for part in parts if part is not None], ignore_index=True)
    results = tally(
        key,
        votes,
        stand_in_votes(key, scores, config),
        replicates=evaluation.replicates,
        seed=evaluation.seed,
    ).assign(pictures=pictures_of_page(key, scores))
    return results, preference_figure(results, comparison.methods)
