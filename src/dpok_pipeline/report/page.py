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
from dpok_pipeline.evaluation.names import (
    BASE,
    METRICS,
    SPLIT_LABELS,
    MethodLabel,
    join_words,
    metric,
    training_reward,
)
from dpok_pipeline.evaluation.reading import main_metrics, measured, present
from dpok_pipeline.report import headline
from dpok_pipeline.report.alarms import alarm_lines, watched_methods
from dpok_pipeline.report.curves import MOST_CURVES, Curves, learning_curves, with_columns
from dpok_pipeline.report.frontier import reward_against_kl
from dpok_pipeline.report.plots import MOST_LEVEL_LABELS, has_rows, score_bars, value_range
from dpok_pipeline.report.provenance import Sections
from dpok_pipeline.report.tables import (
    FURTHER_METRICS,
    Table,
    difference_table,
    is_turned,
    level_table,
    prompt_tables,
    shown_contrasts,
)

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


class Preferences(NamedTuple):
    """What the human study adds to the report.

    Attributes:
        lines: Sentences on who voted.
        table: Shares of the votes.
        figure: The same as bars; None where nobody has voted.
    """

    lines: Sequence[str]
    table: Table
    figure: go.Figure | None


def render_report(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    *,
    methods: Sequence[MethodLabel],
    curves: Mapping[str, Curves],
    sheets: Mapping[str, Sequence[Image.Image]],
    provenance: Sections,
    question: str = "",
    preferences: Preferences | None = None,
) -> str:
    """Render the report of one experiment, or the joint one of several.

    Args:
        comparison: As `comparison.compare` returns it; with several experiments in it the report
            has a mean over prompts and counts its verdicts.
        claims: As `claims.judge_claims` returns them.
        methods: Methods in the order in which they are shown, the base model first.
        curves: Learning curves by experiment and method.
        sheets: Contact sheets by experiment.
        provenance: As `provenance.collect_provenance` returns it.
        question: What the decisive claims answer, as the page's title; a general one if empty.
        preferences: What the human study adds; None leaves its section out.

    Returns:
        A whole HTML page.
    """
    shown = measured(comparison, methods)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            joint=comparison[comparison["experiment"] != "all"]["experiment"].nunique() > 1,
            subject=_subject(_train_prompts(comparison)),
            methods=shown,
            trained=[method for method in shown if method.name != BASE.name],
            everyone=join_words([method.in_a_sentence for method in shown]).removeprefix("the "),
            question=headline.question(claims, question),
            verdict=headline.verdict_word(claims),
            answer=headline.answer(comparison, claims, shown),
            caveat=headline.caveat(comparison),
            has_judge="judge" in set(comparison["metric"]),
            reward=metric(training_reward(set(comparison["metric"]))).label,
            provenance=provenance,
            plotly=Markup(get_plotlyjs()),
            **_tables(comparison, shown),
            **_figures(comparison, curves, shown),
            **_alarms(curves, shown),
            sheets={name: [_embed(sheet) for sheet in images] for name, images in sheets.items()},
            claims=_claim_rows(claims),
            **_votes(preferences),
            origin=headline.claims_origin(claims),
            of_paper=bool(claims["from_paper"].astype(bool).any()),
        )
    )


def template_environment(folder: Path) -> jinja2.Environment:
    """Make what fills templates: every text is escaped, and a missing value is an error.

    Args:
        folder: The folder of the templates.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _environment() -> jinja2.Environment:
    """Make what fills the report's template, with the filters that it uses."""
    environment = template_environment(TEMPLATES)
    environment.filters["in_words"] = headline.count_in_words
    environment.filters["upper_first"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["ended"] = _ended
    return environment


def _votes(preferences: Preferences | None) -> dict[str, object]:
    figure = None if preferences is None else preferences.figure
    drawn = None if figure is None else Figure("", figure_html(figure), wide=True)
    return {"votes": preferences, "votes_figure": drawn}


def figure_html(figure: go.Figure) -> Markup:
    """Write a figure as data that the page's own script draws once the page is laid out."""
    # No text inside may end the script element early.
    data = str(figure.to_json()).replace("<", "\\u003c")
    width = f";min-width:{least_width(figure)}px" if least_width(figure) else ""
    return Markup(
        f'<div class="plot" style="min-height:{int(figure.layout.height)}px{width}">'
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


def _ended(text: str) -> str:
    """End a sentence that has no end yet; a quotation may bring its own."""
    return text if not text or text.rstrip("”").endswith((".", "!", "?")) else f"{text}."


def _subject(prompts: Sequence[str]) -> str:
    if len(prompts) == 1:
        return f"the prompt “{prompts[0]}”"
    return f"{headline.count_in_words(len(prompts))} prompts"


def _train_prompts(comparison: pd.DataFrame) -> list[str]:
    rows = comparison[(comparison["split"] == "train") & (comparison["prompt_id"] != "mean")]
    return [str(prompt) for prompt in rows["prompt"].unique()]


def _tables(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> dict[str, object]:
    """Lay out the tables, and say what their texts need to know."""
    firsts = {ours.label for ours, _ in shown_contrasts(comparison, methods)}
    return {
        "turned": is_turned(comparison, methods),
        "levels": level_table(comparison, methods),
        "prompt_tables": prompt_tables(comparison, methods),
        "differences": difference_table(comparison, methods),
        "further": level_table(comparison, methods, FURTHER_METRICS),
        "meanings": [METRICS[name] for name in present(comparison, list(METRICS))],
        "winner": firsts.pop() if len(firsts) == 1 else "the first of the two",
    }


def _alarms(curves: Mapping[str, Curves], methods: Sequence[MethodLabel]) -> dict[str, object]:
    watched = [method.label for method in watched_methods(curves, methods)]
    return {
        "alarms": alarm_lines(curves, methods),
        "watched": join_words(watched) if 0 < len(watched) <= 3 else "the methods",
    }


def _figures(
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
    if rows or len(_train_prompts(comparison)) == 1:
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
            figures.append(Figure(title, figure_html(figure), wide=rows))
    return figures


def _curves(
    comparison: pd.DataFrame, curves: Mapping[str, Curves], methods: Sequence[MethodLabel]
) -> list[Figure]:
    figures = []
    for title, by_method, part in _by_experiment(comparison, curves):
        figure = learning_curves(by_method, part, methods)
        if figure.data:
            wide = len(with_columns(by_method, methods, ["reward/mean"])) > MOST_CURVES
            figures.append(Figure(title, figure_html(figure), wide))
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
    return [Figure(title, figure_html(figure), wide) for title, figure in figures if figure.data]


def _by_experiment(
    comparison: pd.DataFrame, curves: Mapping[str, Curves]
) -> list[tuple[str, Curves, pd.DataFrame]]:
    """List each experiment's training prompt, curves and rows of the comparison."""
    parts = [
        (by_method, comparison[comparison["experiment"] == experiment])
        for experiment, by_method in curves.items()
    ]
    return [
        (", ".join(_train_prompts(part)), by_method, part)
        for by_method, part in parts
        if not part.empty
    ]


def _embed(image: Image.Image) -> Markup:
    """Write an image as a data URI."""
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=88, method=6)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Markup(f"data:image/webp;base64,{text}")


def _claim_rows(claims: pd.DataFrame) -> list[dict[Hashable, object]]:
    """List each claim with its verdicts and the evidence of each experiment."""
    rows: list[dict[Hashable, object]] = []
    for summary in summarise_claims(claims).to_dict("records"):
        part = claims[claims["claim"] == summary["claim"]]
        columns = ["experiment", "prompt", "verdict", "evidence"]
        from_paper = bool(part["from_paper"].all())
        rows.append(
            {**summary, "from_paper": from_paper, "verdicts": part[columns].to_dict("records")}
        )
    return rows
