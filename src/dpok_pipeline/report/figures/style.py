"""The look that all figures share."""

from __future__ import annotations

import html
import textwrap

import plotly.graph_objects as go

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import one_line

LABEL_LENGTH, LABEL_WIDTH = 140, 14  # characters, in all and per line

INK = "#1f1f1c"
QUIET = "#6b6a64"
RULE = "#e4e1d8"
CONTEXT = "#d8d4c9"  # curves behind those that a panel is about
NEITHER = "#e3e0d6"  # bars that speak for neither of two methods
HALO = "rgba(252, 251, 248, 0.7)"  # paper behind labels
FONT = "'Helvetica Neue', Helvetica, Arial, sans-serif"
HEIGHT = 360  # pixels


def wrapped(prompt: str, width: int = LABEL_WIDTH) -> str:
    """Write a prompt as a short axis label. Plotly reads tags in labels, so it is escaped."""
    lines = textwrap.wrap(one_line(prompt, LABEL_LENGTH), width)
    return "<br>".join(html.escape(line) for line in lines)


def bold(text: str) -> str:
    """Write a text in bold, as Plotly reads it."""
    return f"<b>{html.escape(text)}</b>"


def error_bars(estimate: Interval, colour: str) -> dict[str, object]:
    """Return the bars of one estimate's interval, as Plotly takes them."""
    return {
        "array": [estimate.high - estimate.mean],
        "arrayminus": [estimate.mean - estimate.low],
        "color": colour,
        "thickness": 1.2,
        "width": 0,
    }


def apply_style(
    figure: go.Figure,
    *,
    y_title: str,
    y_range: tuple[float, float] | None = None,
    legend: bool = True,
    height: int = HEIGHT,
) -> go.Figure:
    """Give a figure the look that all share.

    Args:
        figure: Figure to change.
        y_title: Title of its y axes.
        y_range: Their limits; None leaves them to Plotly.
        legend: Whether it has a legend, above the axes.
        height: Height in pixels.

    Returns:
        The same figure.
    """
    axis = {"gridcolor": RULE, "zerolinecolor": QUIET, "linecolor": QUIET, "ticks": ""}
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 52, "r": 48, "t": 36, "b": 48},
        height=height,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    without_zero = {key: value for key, value in axis.items() if not key.startswith("zero")}
    figure.update_xaxes(showgrid=False, automargin=True, zeroline=False, **without_zero)
    figure.update_xaxes(title={"standoff": 10, "font": {"size": 13}})
    figure.update_yaxes(
        title={"text": y_title, "font": {"size": 13}},
        automargin=True,
        zeroline=True,
        range=y_range,
        **axis,
    )
    return figure
