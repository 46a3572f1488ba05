"""The page that raters open: one HTML file that holds all it needs and asks the network nothing."""

from __future__ import annotations

import json
from pathlib import Path

from markupsafe import Markup

from dpok_pipeline.report.pictures.webp import data_uri
from dpok_pipeline.report.rendering import template_environment
from dpok_pipeline.study.pairs import Study
from dpok_pipeline.study.votes import FORMAT, QUESTIONS

TEMPLATES = Path(__file__).parent / "templates"


def render_study(study: Study) -> str:
    """Render a study as a page for raters.

    The page is given the pairs alone: no method, no contrast, and no key of the sides.

    Args:
        study: As `pairs.make_study` returns it; without pairs the page says that there are none.

    Returns:
        A whole HTML page.
    """
    return (
        template_environment(TEMPLATES)
        .get_template("study.html.j2")
        .render(data=_as_data(study), count=len(study.pairs))
    )


def _as_data(study: Study) -> Markup:
    """Write what the page's script reads, so that no text in it can end the script element."""
    pairs = [
        {
            "pair": pair.pair,
            "prompt": pair.prompt,
            "left": [data_uri(image) for image in pair.left],
            "right": [data_uri(image) for image in pair.right],
        }
        for pair in study.pairs
    ]
    data = {"format": FORMAT, "study": study.study, "questions": QUESTIONS, "pairs": pairs}
    return Markup(json.dumps(data).replace("<", "\\u003c"))
