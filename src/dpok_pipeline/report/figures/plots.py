"""Levels of one metric as a Plotly figure: bars for few methods, rows of points for many.

`comparison` is the frame of `comparison.compare`. The other figures are in `curves` (learning
curves) and `frontier` (reward against KL).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import SPLIT_LABELS, MethodLabel, metric
from dpok_pipeline.evaluation.reading import Unit, measured, units
from dpok_pipeline.report.figures.style import INK, QUIET, RULE, apply_style, wrapped

#: Methods whose bars can still be told apart side by side; more become rows of points.
MOST_BARS = 4
#: Groups of bars that can still be read side by side.
MOST_GROUPS = 12
#: Groups whose labels have room side by side; those of more are turned.
MOST_LEVEL_LABELS = 5
#: Panels of points that can still be read side by side.
MOST_PANELS = 5

ROW_HEIGHT = 26  # pixels of one method's points
SPLIT_OFFSET = 0.17  # of a row: training prompts above its middle, unseen ones below
TITLE_WIDTH = 24  # characters of a line above a panel
MARKS = {"train": "●", "unseen": "○"}


def score_bars(
    comparison: pd.DataFrame,
    name: str,
    methods: Sequence[MethodLabel],
    split: str | None = "train",
    value_axis: tuple[float, float] | None = None,
) -> go.Figure:
    """Show each method's level of one metric, with 95 % intervals (the paper's Figures 2, 3).

    Few methods are bars: one group per prompt, one bar per method. A score whose scale does not
    begin at 0, such as the aesthetic one, is drawn as points: the length of a bar would say
    nothing. Many methods are rows of points, with one panel per experiment.

    Args:
        comparison: As `comparison.compare` returns it.
        name: Metric to show.
        methods: Methods to show; one that was not measured is left out.
        split: Prompts to show; None shows training and unseen prompts together.
        value_axis: Limits of the metric's axis; None leaves them to Plotly.
    """
    shown = measured(comparison, methods)
    if has_rows(comparison, methods):
        return _rows_of_points(comparison, name, shown, split, value_axis)
    rows = _groups(comparison[comparison["metric"] == name], split)
    points = name == "aesthetic"
    figure = go.Figure()
    for method in shown:
        levels = rows[rows["quantity"] == method.name]
        if levels.empty:
            continue
        mean, low, high = (_scale(name) * levels[column] for column in Interval._fields)
        bars = {
            "x": [wrapped(prompt) for prompt in levels["prompt"]],
            "y": mean,
            "name": method.label,
            "offsetgroup": method.name,
            "error_y": {
                "array": high - mean,
                "arrayminus": mean - low,
                "color": method.colour if points else INK,
                "thickness": 1.2,
                "width": 3,
            },
            "hovertemplate": "%{y:.3g}<extra>%{x}</extra>",
        }
        if points:
            figure.add_scatter(**bars, mode="markers", marker={"color": method.colour, "size": 10})
        else:
            figure.add_bar(**bars, marker_color=method.colour)
    figure.update_layout(barmode="group", scattermode="group", bargap=0.28, scattergap=0.4)
    if rows["prompt"].nunique() <= MOST_LEVEL_LABELS:
        figure.update_xaxes(tickangle=0)
    return apply_style(figure, y_title=_axis_title(name), y_range=value_axis)


def has_rows(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> bool:
    """Say whether there are too many methods for bars, so that each is a row."""
    return len(measured(comparison, methods)) > MOST_BARS


def value_range(
    comparison: pd.DataFrame, name: str, methods: Sequence[MethodLabel]
) -> tuple[float, float]:
    """Find axis limits that hold every interval of a metric, for figures that share an axis."""
    names = [method.name for method in methods]
    rows = comparison[(comparison["metric"] == name) & comparison["quantity"].isin(names)]
    low, high = _scale(name) * rows["low"].min(), _scale(name) * rows["high"].max()
    pad = 0.08 * max(high - low, 1e-3)
    # The place of a point says all; the length of a bar is read from 0.
    if name == "aesthetic":
        return low - pad, high + pad
    if has_rows(comparison, methods):
        # A mark at 0 or 100 % is whole, and nothing lies beyond.
        outer = (-3, 103) if metric(name).share else (low - pad, high + pad)
        return max(low - pad, outer[0]), min(high + pad, outer[1])
    if metric(name).share:
        return 0, min(100, high + pad)
    return (low - pad if low < 0 else 0), (high + pad if high > 0 else 0)


def _scale(name: str) -> int:
    return 100 if metric(name).share else 1


def _axis_title(name: str) -> str:
    shown = metric(name)
    return shown.label + (" (%)" if shown.share else "")


def _groups(rows: pd.DataFrame, split: str | None) -> pd.DataFrame:
    """Select what one figure of bars can hold: the prompts, or the means of too many."""
    if split:
        rows = rows[rows["split"] == split]
    is_mean = rows["prompt_id"] == "mean"
    crowded = rows[~is_mean]["prompt_id"].nunique() > MOST_GROUPS
    return rows[is_mean if crowded and is_mean.any() else ~is_mean]


def _rows_of_points(
    comparison: pd.DataFrame,
    name: str,
    methods: Sequence[MethodLabel],
    split: str | None,
    value_axis: tuple[float, float] | None,
) -> go.Figure:
    """Draw methods as rows and experiments as panels; filled for training, hollow for unseen."""
    panels = _panels(comparison)
    shown = list(SPLIT_LABELS) if split is None else [split]
    titles = [_title(panel, shown) for panel in panels]
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.12 / len(panels),
        subplot_titles=titles,
        x_title=_axis_title(name),
    )
    for column, panel in enumerate(panels, start=1):
        for one in shown:
            offset = 0.0 if split else SPLIT_OFFSET * (1 if one == "train" else -1)
            trace = _points(panel, name, methods, one, offset)
            figure.add_trace(trace, row=1, col=column)
        start = panel.cells.get(shown[0], {}).get((name, methods[0].name))
        if start is not None:
            level = _scale(name) * start.mean
            line = {"color": methods[0].colour, "dash": "dot", "width": 1.2}
            figure.add_vline(level, row=1, col=column, line=line, layer="below")
    row_height = ROW_HEIGHT if split else 1.25 * ROW_HEIGHT
    apply_style(figure, y_title="", legend=False, height=int(100 + row_height * len(methods)))
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(range=value_axis, showgrid=True, gridcolor=RULE, nticks=5)
    figure.update_yaxes(
        tickvals=[-place for place in range(len(methods))],
        ticktext=[wrapped(method.label, 40) for method in methods],
        range=(0.6 - len(methods), 0.6),
        zeroline=False,
    )
    lines = max(title.count("<br>") for title in titles) + 1
    figure.update_layout(margin={"l": 12, "r": 12, "t": 8 + 18 * lines, "b": 56})
    return figure


def _title(panel: Unit, splits: Sequence[str]) -> str:
    """Write a panel's prompts, each behind the mark that its points have."""
    prompts = {split: panel.prompts[split] for split in splits if split in panel.prompts}
    if len(set(prompts.values())) < 2:
        return "".join(wrapped(prompt, TITLE_WIDTH) for prompt in set(prompts.values()))
    return "<br>".join(
        f"{MARKS[split]} {wrapped(prompt, TITLE_WIDTH)}" for split, prompt in prompts.items()
    )


def _panels(comparison: pd.DataFrame) -> list[Unit]:
    """Select what one figure of points can hold: the mean first, then the experiments."""
    single, joint = units(comparison, joint=False), units(comparison)
    if len(single) == len(joint):
        return single[:MOST_PANELS]
    panels = [*joint, *single]
    return panels if len(panels) <= MOST_PANELS else joint


def _points(
    panel: Unit, name: str, methods: Sequence[MethodLabel], split: str, offset: float
) -> go.Scatter:
    """Draw one split of a panel: a point for each method that was measured."""
    cells = panel.cells.get(split, {})
    levels = [
        (place, method, Interval(*(_scale(name) * end for end in cells[name, method.name])))
        for place, method in enumerate(methods)
        if (name, method.name) in cells
    ]
    return go.Scatter(
        x=[level.mean for _, _, level in levels],
        y=[offset - place for place, _, _ in levels],
        error_x={
            "array": [level.high - level.mean for _, _, level in levels],
            "arrayminus": [level.mean - level.low for _, _, level in levels],
            "color": QUIET,
            "thickness": 1,
            "width": 0,
        },
        mode="markers",
        marker={
            "color": [method.colour for _, method, _ in levels],
            "size": 9,
            "symbol": "circle" if split == "train" else "circle-open",
        },
        text=[wrapped(method.label, 40) for _, method, _ in levels],
        name=SPLIT_LABELS[split],
        hovertemplate="%{text}: %{x:.3g}<extra>" + SPLIT_LABELS[split] + "</extra>",
    )
