"""How pages are filled: templates, and figures as data that a page draws itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup, escape

from dpok_pipeline.report.figures.dark import on_dark
from dpok_pipeline.report.figures.plots import MOST_LEVEL_LABELS

TEMPLATES = Path(__file__).parent / "templates"
#: Pixels that a panel, the labels beside panels, and a group of bars need to be read.
PANEL_WIDTH, LABELS_WIDTH, GROUP_WIDTH = 172, 160, 86


class Figure(NamedTuple):
    """A drawn figure.

    Attributes:
        title: What is written above it.
        drawing: Its data, as `figure_html` writes them.
        wide: Whether it has the page's whole width; a narrow screen scrolls through it.
    """

    title: str
    drawing: Markup
    wide: bool = False


def template_environment(folder: Path) -> jinja2.Environment:
    """Make what fills templates: every text is escaped, and a missing value is an error.

    Args:
        folder: The folder of the templates.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["on_dark"] = on_dark
    return environment


def figure_html(figure: go.Figure, label: str) -> Markup:
    """Write a figure as data that the page's own script draws once the page is laid out.

    Args:
        figure: The figure.
        label: What it shows, for those who do not see it.
    """
    # No text inside may end the script element early.
    data = str(figure.to_json()).replace("<", "\\u003c")
    width = f";min-width:{least_width(figure)}px" if least_width(figure) else ""
    style = f"min-height:{int(figure.layout.height)}px{width}"
    return Markup(
        f'<div class="plot" style="{style}" role="img" aria-label="{escape(label)}">'
        f'<script type="application/json">{data}</script></div>'
    )


def least_width(figure: go.Figure) -> int:
    """Return the pixels below which a figure is scrolled through, not squeezed; 0 for none."""
    panels = len({axis.domain for axis in figure.select_xaxes()})  # those side by side
    if panels > 1:
        return LABELS_WIDTH + PANEL_WIDTH * panels
    if not figure.layout.barmode:
        return 0
    groups = len({label for trace in figure.data for label in trace.x})
    return GROUP_WIDTH * (groups + 1) if 2 < groups <= MOST_LEVEL_LABELS else 0
