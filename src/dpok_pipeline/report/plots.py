"""Plotly figures in the report's look: bars, learning curves, reward against KL.

`comparison` is the frame of `comparison.compare`. `curves` holds the learning curves of one
experiment by model (`rl`, perhaps `sft`): one row per logged step with `images_seen`, `reward/mean`
and `kl/noise_mse`; a curve without a column that a figure needs is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dpok_pipeline.evaluation.comparison import overall
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MODEL_COLOURS, MODEL_LABELS, MODELS, metric, reward_name
from dpok_pipeline.report.style import INK, dress, wrapped

#: Groups of bars that can still be read side by side.
MOST_GROUPS = 12

Curves = Mapping[str, pd.DataFrame]


def score_bars(
    comparison: pd.DataFrame,
    name: str,
    split: str | None = "train",
    y_range: tuple[float, float] | None = None,
) -> go.Figure:
    """One group per prompt, one bar per model, with 95 % intervals (the paper's Figures 2, 3).

    `split` None shows training and unseen prompts together.

    A score whose scale does not begin at 0, such as the aesthetic one, is drawn as points: the
    length of a bar would say nothing.
    """
    shown = metric(name)
    rows = _groups(comparison[comparison["metric"] == name], split)
    points = name == "aesthetic"
    figure = go.Figure()
    for model in MODELS:
        own = rows[rows["quantity"] == model]
        if own.empty:
            continue
        scale = 100 if shown.share else 1
        mean, low, high = (scale * own[column] for column in Interval._fields)
        bars = {
            "x": [wrapped(prompt) for prompt in own["prompt"]],
            "y": mean,
            "name": MODEL_LABELS[model],
            "offsetgroup": model,
            "error_y": {
                "array": high - mean,
                "arrayminus": mean - low,
                "color": MODEL_COLOURS[model] if points else INK,
                "thickness": 1.2,
                "width": 3,
            },
            "hovertemplate": "%{y:.3g}<extra>%{x}</extra>",
        }
        colour = MODEL_COLOURS[model]
        if points:
            marker = {"color": colour, "size": 10}
            figure.add_scatter(**bars, mode="markers", marker=marker)
        else:
            figure.add_bar(**bars, marker_color=colour)
    unit = " (%)" if shown.share else ""
    figure.update_layout(barmode="group", scattermode="group", bargap=0.28, scattergap=0.4)
    return dress(figure, y_title=shown.label + unit, y_range=y_range)


def _groups(rows: pd.DataFrame, split: str | None) -> pd.DataFrame:
    """What one figure of bars can hold: the prompts, or the means where there are too many."""
    if split:
        rows = rows[rows["split"] == split]
    is_mean = rows["prompt_id"] == "mean"
    crowded = rows[~is_mean]["prompt_id"].nunique() > MOST_GROUPS
    return rows[is_mean if crowded and is_mean.any() else ~is_mean]


def value_range(comparison: pd.DataFrame, name: str) -> tuple[float, float]:
    """Axis limits that hold every interval of a metric, for figures that share an axis."""
    rows = comparison[(comparison["metric"] == name) & comparison["quantity"].isin(MODELS)]
    scale = 100 if metric(name).share else 1
    low, high = scale * rows["low"].min(), scale * rows["high"].max()
    pad = 0.08 * max(high - low, 1e-3)
    if name == "aesthetic":
        return low - pad, high + pad
    if metric(name).share:
        return 0, min(100, high + pad)
    return (low - pad if low < 0 else 0), (high + pad if high > 0 else 0)


def learning_curves(curves: Curves, comparison: pd.DataFrame) -> go.Figure:
    """Reward of the images drawn while training, against how many were drawn.

    Dashed lines are the three models' means on the evaluation noise, so that the curve can be
    read against where it starts and against SFT.
    """
    reward = reward_name(set(comparison["metric"]))
    figure = go.Figure()
    for model, curve in curves.items():
        if not {"images_seen", "reward/mean"} <= set(curve.columns):
            continue
        colour = MODEL_COLOURS[model]
        points = curve.dropna(subset=["reward/mean"])
        figure.add_scatter(
            x=points["images_seen"],
            y=points["reward/mean"],
            mode="lines",
            line={"color": colour, "width": 1},
            opacity=0.35,
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=points["images_seen"],
            y=smooth(points["reward/mean"]),
            mode="lines",
            line={"color": colour, "width": 3},
            name=f"{MODEL_LABELS[model]}, while training",
        )
    for model, level in _levels(comparison, reward).items():
        line = {"color": MODEL_COLOURS[model], "dash": "dash", "width": 1.5}
        figure.add_hline(y=level.mean, line=line)
    _label_levels(figure, _levels(comparison, reward))
    figure.update_xaxes(title="images seen", rangemode="tozero")
    return dress(figure, y_title=metric(reward).label, legend=False)


def reward_against_kl(curves: Curves, comparison: pd.DataFrame) -> go.Figure:
    """How much reward is bought at which distance from the base model.

    The line is the path of a training run from its first iteration to its last; the marks with
    intervals are the finished models on the evaluation noise.
    """
    reward = reward_name(set(comparison["metric"]))
    figure, furthest = go.Figure(), 1e-9
    for model, curve in curves.items():
        if not {"kl/noise_mse", "reward/mean"} <= set(curve.columns):
            continue
        points = curve.dropna(subset=["kl/noise_mse", "reward/mean"])
        furthest = max(furthest, points["kl/noise_mse"].max())
        figure.add_scatter(
            x=smooth(points["kl/noise_mse"]),
            y=smooth(points["reward/mean"]),
            mode="lines+markers",
            line={"color": MODEL_COLOURS[model], "width": 1.5},
            marker={"size": 4},
            opacity=0.55,
            name=f"{MODEL_LABELS[model]}, while training",
        )
    distances = _levels(comparison, "kl")
    for model, level in _levels(comparison, reward).items():
        at = distances.get(model, Interval(0, 0, 0) if model == "base" else None)
        if at is None:
            continue
        furthest = max(furthest, at.high)
        figure.add_scatter(
            x=[at.mean],
            y=[level.mean],
            error_x=_bars(at, MODEL_COLOURS[model]),
            error_y=_bars(level, MODEL_COLOURS[model]),
            mode="markers+text",
            text=[f"<b>{MODEL_LABELS[model]}</b>"],
            textposition="middle right",
            textfont={"color": MODEL_COLOURS[model]},
            marker={"color": MODEL_COLOURS[model], "size": 12},
            name=MODEL_LABELS[model],
        )
    figure.update_xaxes(
        title="KL to the base model (mean squared noise difference)",
        # Room for the base model's mark at 0 and for the last label.
        range=(-0.04 * furthest, 1.2 * furthest),
    )
    return dress(figure, y_title=metric(reward).label, legend=False)


def smooth(values: pd.Series[float]) -> pd.Series[float]:
    """Centred moving mean over a tenth of the run."""
    window = max(1, len(values) // 10)
    return values.rolling(window, center=True, min_periods=1).mean()


def _label_levels(figure: go.Figure, levels: Mapping[str, Interval]) -> None:
    """Name the dashed lines at the right edge, moved apart where they would overlap."""
    drawn = [value for trace in figure.data for value in trace.y]
    drawn += [level.mean for level in levels.values()]
    apart = 0.065 * (max(drawn) - min(drawn)) if drawn else 0
    lowest = float("-inf")
    for model, level in sorted(levels.items(), key=lambda item: item[1].mean):
        lowest = max(level.mean, lowest + apart)
        figure.add_annotation(
            text=f"<b>{MODEL_LABELS[model]}</b>",
            x=1.01,
            xref="paper",
            xanchor="left",
            y=lowest,
            yanchor="middle",
            showarrow=False,
            font={"color": MODEL_COLOURS[model], "size": 12},
        )


def _levels(comparison: pd.DataFrame, name: str) -> dict[str, Interval]:
    """The models' levels on the training prompts."""
    cells = overall(comparison, "train")
    return {model: cells[name, model] for model in MODELS if (name, model) in cells}


def _bars(estimate: Interval, colour: str) -> dict[str, object]:
    return {
        "array": [estimate.high - estimate.mean],
        "arrayminus": [estimate.mean - estimate.low],
        "color": colour,
        "thickness": 1.2,
        "width": 0,
    }
