"""The report: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from dpok_pipeline.evaluation.claims import summarise_claims
from dpok_pipeline.evaluation.names import METRICS, SPLIT_LABELS, metric, reward_name
from dpok_pipeline.report import headline
from dpok_pipeline.report.alarms import alarm_lines
from dpok_pipeline.report.plots import (
    Curves,
    learning_curves,
    reward_against_kl,
    score_bars,
    value_range,
)
from dpok_pipeline.report.provenance import Sections
from dpok_pipeline.report.tables import (
    FURTHER_METRICS,
    difference_table,
    level_table,
    main_metrics,
    present,
)

TEMPLATES = Path(__file__).parent / "templates"


class Figure(NamedTuple):
    """A drawn figure and the words below it."""

    title: str
    drawing: Markup


def render_report(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    *,
    curves: Mapping[str, Curves],
    sheets: Mapping[str, Sequence[Image.Image]],
    provenance: Sections,
) -> str:
    """Render the report of one experiment, or the joint one of several.

    Args:
        comparison: as `comparison.compare` returns it; with several experiments in it the
            report has a mean over prompts and counts its verdicts.
        claims: as `claims.judge_claims` returns it.
        curves: learning curves by experiment and model.
        sheets: contact sheets by experiment.
        provenance: as `provenance.collect_provenance` returns it.

    Returns:
        A whole HTML page.
    """
    experiments = [name for name in comparison["experiment"].unique() if name != "all"]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        joint=len(experiments) > 1,
        subject=_subject(_train_prompts(comparison)),
        verdict=headline.verdict_word(claims),
        answer=headline.answer(comparison, claims),
        caveat=headline.caveat(comparison),
        has_judge="judge" in set(comparison["metric"]),
        reward=metric(reward_name(set(comparison["metric"]))).label,
        levels=level_table(comparison),
        differences=difference_table(comparison),
        further=level_table(comparison, FURTHER_METRICS),
        meanings=[METRICS[name] for name in present(comparison, list(METRICS))],
        bars=_bars(comparison),
        curves=_curves(comparison, curves),
        distances=_distances(comparison, curves),
        alarms=alarm_lines(curves),
        sheets={name: [_embed(sheet) for sheet in own] for name, own in sheets.items()},
        claims=_claim_rows(claims),
        provenance=provenance,
        plotly=Markup(get_plotlyjs()),
    )


def figure_html(figure: go.Figure) -> Markup:
    """A figure as data that the page's own script draws once the whole page is laid out."""
    # No text inside may end the script element early.
    data = str(figure.to_json()).replace("<", "\\u003c")
    return Markup(f'<div class="plot"><script type="application/json">{data}</script></div>')


def _subject(prompts: Sequence[str]) -> str:
    if len(prompts) == 1:
        return f"the prompt “{prompts[0]}”"
    return f"{headline.in_words(len(prompts))} prompts"


def _train_prompts(comparison: pd.DataFrame) -> list[str]:
    rows = comparison[(comparison["split"] == "train") & (comparison["prompt_id"] != "mean")]
    return [str(prompt) for prompt in rows["prompt"].unique()]


def _bars(comparison: pd.DataFrame) -> list[Figure]:
    """Train and unseen prompts on the same axis, metric by metric."""
    figures = []
    splits: list[str | None] = [s for s in SPLIT_LABELS if s in set(comparison["split"])]
    if len(_train_prompts(comparison)) == 1:
        splits = [None]  # one figure is enough for two prompts
    for name in main_metrics(comparison):
        axis = value_range(comparison, name)
        for split in splits:
            figure = score_bars(comparison, name, split, axis)
            # The page has one legend for all.
            figure.update_layout(showlegend=False, margin={"t": 12, "r": 12})
            place = f", {SPLIT_LABELS[split].lower()}" if split else ""
            title = metric(name).label + place
            figures.append(Figure(title, figure_html(figure)))
    return figures


def _curves(comparison: pd.DataFrame, curves: Mapping[str, Curves]) -> list[Figure]:
    return [
        Figure(title, figure_html(learning_curves(own, part)))
        for title, own, part in _by_experiment(comparison, curves)
    ]


def _distances(comparison: pd.DataFrame, curves: Mapping[str, Curves]) -> list[Figure]:
    figures = [
        (title, reward_against_kl(own, part))
        for title, own, part in _by_experiment(comparison, curves)
    ]
    return [Figure(title, figure_html(figure)) for title, figure in figures if figure.data]


def _by_experiment(
    comparison: pd.DataFrame, curves: Mapping[str, Curves]
) -> list[tuple[str, Curves, pd.DataFrame]]:
    """Each experiment's training prompt, curves and rows of the comparison."""
    found = []
    for experiment, own in curves.items():
        part = comparison[comparison["experiment"] == experiment]
        if not part.empty:
            found.append((", ".join(_train_prompts(part)), own, part))
    return found


def _embed(image: Image.Image) -> Markup:
    """An image as a data URI."""
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=88, method=6)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Markup(f"data:image/webp;base64,{text}")


def _claim_rows(claims: pd.DataFrame) -> list[dict[Hashable, object]]:
    """Each claim with its verdicts and the evidence of each experiment."""
    rows: list[dict[Hashable, object]] = []
    for summary in summarise_claims(claims).to_dict("records"):
        own = claims[claims["claim"] == summary["claim"]]
        verdicts = own[["experiment", "prompt", "verdict", "evidence"]].to_dict("records")
        rows.append({**summary, "verdicts": verdicts})
    return rows
