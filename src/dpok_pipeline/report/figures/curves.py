"""Learning curves as a Plotly figure: together for few methods, a panel each for many.

`curves` holds the learning curves of one experiment by method: one row per logged step with
`images_seen` and `reward/mean`; a curve without a column that a figure needs is left out of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import BASE, MethodLabel, metric, training_reward
from dpok_pipeline.evaluation.reading import measured, overall
from dpok_pipeline.report.figures.style import CONTEXT, apply_style, bold

#: Curves that can still be told apart in one figure; more get a panel each.
MOST_CURVES = 4
PANELS_IN_A_ROW = 4
PANEL_HEIGHT = 165  # pixels
CONTEXT_POINTS = 40  # of each grey curve behind a panel's own

Curves = Mapping[str, pd.DataFrame]


def with_columns(
    curves: Curves, methods: Sequence[MethodLabel], columns: Sequence[str]
) -> list[tuple[MethodLabel, pd.DataFrame]]:
    """List the methods whose curves have all these columns, with the steps that have them."""
    return [
        (method, curves[method.name].dropna(subset=list(columns)))
        for method in methods
        if method.name in curves and {*columns} <= set(curves[method.name].columns)
    ]


def learning_curves(
    curves: Curves, comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> go.Figure:
    """Show the reward of the images drawn while training, against how many were drawn.

    Dashed lines are the finished methods' means on the evaluation noise, so that a curve can be
    read against where it starts and against the methods that have no curve.

    Args:
        curves: Learning curves by method.
        comparison: The experiment's rows, as `comparison.compare` returns them.
        methods: Methods to show; one without a curve is a dashed line only.
    """
    reward = training_reward(set(comparison["metric"]))
    shown = with_columns(curves, methods, ["images_seen", "reward/mean"])
    levels = method_levels(comparison, reward, methods)
    if len(shown) > MOST_CURVES:
        return _panels(shown, levels, metric(reward).label)
    figure = go.Figure()
    for method, curve in shown:
        for trace in _lines(method, curve):
            figure.add_trace(trace)
    if len(levels) > MOST_CURVES + 1:
        names = [BASE.name, *(method.name for method, _ in shown)]
        levels = [(method, level) for method, level in levels if method.name in names]
    for method, level in levels:
        line = {"color": method.colour, "dash": "dash", "width": 1.5}
        figure.add_hline(y=level.mean, line=line)
    _label_levels(figure, levels)
    figure.update_xaxes(title="images seen", rangemode="tozero")
    return apply_style(figure, y_title=metric(reward).label, legend=False)


def smooth(values: pd.Series[float]) -> pd.Series[float]:
    """Return the centred moving mean over a tenth of the run."""
    window = max(1, len(values) // 10)
    return values.rolling(window, center=True, min_periods=1).mean()


def method_levels(
    comparison: pd.DataFrame, name: str, methods: Sequence[MethodLabel]
) -> list[tuple[MethodLabel, Interval]]:
    """List the methods' levels of a metric on the training prompts."""
    cells = overall(comparison, "train")
    return [
        (method, cells[name, method.name])
        for method in measured(comparison, methods)
        if (name, method.name) in cells
    ]


def _lines(method: MethodLabel, curve: pd.DataFrame) -> list[go.Scatter]:
    """Draw one curve: faint as measured, bold smoothed."""
    return [
        go.Scatter(
            x=curve["images_seen"],
            y=curve["reward/mean"],
            mode="lines",
            line={"color": method.colour, "width": 1},
            opacity=0.35,
            hoverinfo="skip",
            showlegend=False,
        ),
        go.Scatter(
            x=curve["images_seen"],
            y=smooth(curve["reward/mean"]),
            mode="lines",
            line={"color": method.colour, "width": 3},
            name=f"{method.label}, while training",
        ),
    ]


def _panels(
    shown: Sequence[tuple[MethodLabel, pd.DataFrame]],
    levels: Sequence[tuple[MethodLabel, Interval]],
    y_title: str,
) -> go.Figure:
    """Draw one panel per method, its curve before the grey ones of all others."""
    rows = math.ceil(len(shown) / PANELS_IN_A_ROW)
    figure = make_subplots(
        rows=rows,
        cols=PANELS_IN_A_ROW,
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.02,
        vertical_spacing=min(0.3, 40 / (PANEL_HEIGHT * rows)),
        subplot_titles=[bold(method.label) for method, _ in shown],
        x_title="images seen",
        y_title=y_title,
    )
    known = {method.name: level for method, level in levels}
    context = _context([curve for _, curve in shown])
    for place, (method, curve) in enumerate(shown):
        at = {"row": place // PANELS_IN_A_ROW + 1, "col": place % PANELS_IN_A_ROW + 1}
        figure.add_trace(context, **at)
        for trace in _lines(method, curve):
            figure.add_trace(trace.update(line_width=min(trace.line.width, 2.5)), **at)
        for name, colour in ((BASE.name, BASE.colour), (method.name, method.colour)):
            if name in known:
                line = {"color": colour, "dash": "dash", "width": 1.2}
                figure.add_hline(y=known[name].mean, line=line, **at)
        figure.layout.annotations[place].font = {"color": method.colour, "size": 12}
    for title in figure.layout.annotations[len(shown) :]:
        title.font = {"size": 13}
    apply_style(figure, y_title="", legend=False, height=90 + PANEL_HEIGHT * rows)
    figure.update_xaxes(rangemode="tozero", nticks=4)
    figure.update_layout(margin={"l": 64, "r": 12, "t": 30, "b": 56})
    return figure


def _context(curves: Sequence[pd.DataFrame]) -> go.Scatter:
    """Draw all curves in grey as one trace, which gaps divide."""
    x: list[float | None] = []
    y: list[float | None] = []
    for curve in curves:
        step = max(1, len(curve) // CONTEXT_POINTS)
        x += [*map(float, curve["images_seen"][::step]), None]
        y += [*(float(f"{value:.4g}") for value in smooth(curve["reward/mean"])[::step]), None]
    line = {"color": CONTEXT, "width": 1}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _label_levels(figure: go.Figure, levels: Sequence[tuple[MethodLabel, Interval]]) -> None:
    """Name the dashed lines at the right edge, moved apart where they would overlap."""
    drawn = [value for trace in figure.data for value in trace.y]
    drawn += [level.mean for _, level in levels]
    apart = 0.065 * (max(drawn) - min(drawn)) if drawn else 0
    lowest = float("-inf")
    for method, level in sorted(levels, key=lambda item: item[1].mean):
        lowest = max(level.mean, lowest + apart)
        figure.add_annotation(
            text=bold(method.label),
            x=1.01,
            xref="paper",
            xanchor="left",
            y=lowest,
            yanchor="middle",
            showarrow=False,
            font={"color": method.colour, "size": 12},
        )
