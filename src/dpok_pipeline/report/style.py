"""The look that all figures share."""

from __future__ import annotations

import html
import textwrap

import plotly.graph_objects as go

from dpok_pipeline.evaluation.names import one_line

LABEL_LENGTH, LABEL_WIDTH = 140, 14  # characters, in all and per line

INK = "#1f1f1c"
QUIET = "#6b6a64"
RULE = "#e4e1d8"
FONT = "'Helvetica Neue', Helvetica, Arial, sans-serif"


def wrapped(prompt: str) -> str:
    """A prompt as a short axis label. Plotly reads tags in labels, so it is escaped."""
    lines = textwrap.wrap(one_line(prompt, LABEL_LENGTH), LABEL_WIDTH)
    return "<br>".join(html.escape(line) for line in lines)


def dress(
    figure: go.Figure,
    *,
    y_title: str,
    y_range: tuple[float, float] | None = None,
    legend: bool = True,
) -> go.Figure:
    """The look that all figures share."""
    axis = {"gridcolor": RULE, "zerolinecolor": QUIET, "linecolor": QUIET, "ticks": ""}
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 52, "r": 48, "t": 36, "b": 48},
        height=360,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(showgrid=False, automargin=True, zeroline=False, **_without_zero(axis))
    figure.update_xaxes(title={"standoff": 10, "font": {"size": 13}})
    figure.update_yaxes(
        title={"text": y_title, "font": {"size": 13}},
        automargin=True,
        zeroline=True,
        range=y_range,
        **axis,
    )
    return figure


def _without_zero(axis: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in axis.items() if not key.startswith("zero")}
