"""The figures of a report, section by section, as its templates show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dpok_pipeline.evaluation.names import SPLIT_LABELS, MethodLabel, metric
from dpok_pipeline.evaluation.reading import main_metrics
from dpok_pipeline.report.figures.curves import MOST_CURVES, Curves, learning_curves, with_columns
from dpok_pipeline.report.figures.frontier import reward_against_kl
from dpok_pipeline.report.figures.plots import has_rows, score_bars, value_range
from dpok_pipeline.report.rendering import Figure, figure_html


def train_prompts(comparison: pd.DataFrame) -> list[str]:
    """List the training prompts of a comparison."""
    rows = comparison[(comparison["split"] == "train") & (comparison["prompt_id"] != "mean")]
    return [str(prompt) for prompt in rows["prompt"].unique()]


def section_figures(
    comparison: pd.DataFrame, curves: Mapping[str, Curves], methods: Sequence[MethodLabel]
) -> dict[str, object]:
    """Draw the figures, and say what their texts need to know."""
    learners = [
        method
        for method in methods
        if any(
            with_columns(by_method, [method], ["images_seen", "reward/mean"])
            for by_method in curves.values()
        )
    ]
    return {
        "bars": _bars(comparison, methods),
        "bars_are_rows": has_rows(comparison, methods),
        "curves": _curves(comparison, curves, methods) if learners else [],
        "learners": [method.label for method in learners],
        "curves_are_panels": len(learners) > MOST_CURVES,
        "distances": _distances(comparison, curves, methods),
        "distances_have_frontier": len(methods) > MOST_CURVES,
    }


def _bars(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> list[Figure]:
    """Draw train and unseen prompts on the same axis, metric by metric."""
    figures = []
    splits: list[str | None] = [s for s in SPLIT_LABELS if s in set(comparison["split"])]
    rows = has_rows(comparison, methods)
    if rows or len(train_prompts(comparison)) == 1:
        splits = [None]  # one figure is enough for two prompts, and rows have both splits
    for name in main_metrics(comparison):
        axis = value_range(comparison, name, methods)
        for split in splits:
            figure = score_bars(comparison, name, methods, split, axis)
            if not rows:
                # The page has one legend for all.
                figure.update_layout(showlegend=False, margin={"t": 12, "r": 12})
            place = f", {SPLIT_LABELS[split].lower()}" if split else ""
            title = metric(name).label + place
            label = f"{title}: means of each method with their intervals, as in the table above"
            figures.append(Figure(title, figure_html(figure, label), wide=rows))
    return figures


def _curves(
    comparison: pd.DataFrame, curves: Mapping[str, Curves], methods: Sequence[MethodLabel]
) -> list[Figure]:
    figures = []
    for title, by_method, part in _by_experiment(comparison, curves):
        figure = learning_curves(by_method, part, methods)
        if figure.data:
            wide = len(with_columns(by_method, methods, ["reward/mean"])) > MOST_CURVES
            label = f"{title} Learning curves: reward against images seen"
            figures.append(Figure(title, figure_html(figure, label), wide))
    return figures


def _distances(
    comparison: pd.DataFrame, curves: Mapping[str, Curves], methods: Sequence[MethodLabel]
) -> list[Figure]:
    """Draw reward against KL of each experiment; of many methods first their mean over all."""
    wide = len(methods) > MOST_CURVES
    figures = []
    joint = comparison[comparison["experiment"] == "all"]
    if wide and not joint.empty:
        figures.append(("Mean over prompts", reward_against_kl({}, joint, methods)))
    figures += [
        (title, reward_against_kl(by_method, part, methods))
        for title, by_method, part in _by_experiment(comparison, curves)
    ]
    return [
        Figure(title, figure_html(figure, f"{title} Reward against KL to the base model"), wide)
        for title, figure in figures
        if figure.data
    ]


def _by_experiment(
    comparison: pd.DataFrame, curves: Mapping[str, Curves]
) -> list[tuple[str, Curves, pd.DataFrame]]:
    """List each experiment's training prompt, curves and rows of the comparison."""
    parts = [
        (by_method, comparison[comparison["experiment"] == experiment])
        for experiment, by_method in curves.items()
    ]
    return [
        (", ".join(train_prompts(part)), by_method, part)
        for by_method, part in parts
        if not part.empty
    ]
