"""The report: one HTML file that holds everything and asks the network for nothing."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dpok_pipeline.evaluation.claims import summarise_claims
from dpok_pipeline.evaluation.names import (
    BASE,
    METRICS,
    MethodLabel,
    join_words,
)
from dpok_pipeline.evaluation.reading import measured, present
from dpok_pipeline.report import headline
from dpok_pipeline.report.alarms import alarm_lines, watched_methods
from dpok_pipeline.report.figures.curves import Curves
from dpok_pipeline.report.figures.dark import dark_colours
from dpok_pipeline.report.figures.drawn import section_figures, train_prompts
from dpok_pipeline.report.pictures.album import Material
from dpok_pipeline.report.pictures.sections import picture_sections
from dpok_pipeline.report.pictures.strips import Filmstrips, scenes
from dpok_pipeline.report.provenance import Lineage, Sections, lineage_context
from dpok_pipeline.report.rendering import TEMPLATES, Figure, figure_html, template_environment
from dpok_pipeline.report.tables import (
    FURTHER_METRICS,
    Table,
    difference_table,
    is_turned,
    level_table,
    prompt_tables,
    shown_contrasts,
)


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
    materials: Mapping[str, Material],
    provenance: Sections,
    filmstrips: Mapping[str, Filmstrips] = MappingProxyType({}),
    question: str = "",
    preferences: Preferences | None = None,
    lineage: Lineage | None = None,
) -> str:
    """Render the report of one experiment, or the joint one of several.

    Args:
        comparison: As `comparison.compare` returns it; with several experiments in it the report
            has a mean over prompts and counts its verdicts.
        claims: As `claims.judge_claims` returns them.
        methods: Methods in the order in which they are shown, the base model first.
        curves: Learning curves by experiment and method.
        materials: Scores and pictures by experiment.
        provenance: As `provenance.collect_provenance` returns it.
        filmstrips: Filmstrips by experiment and method.
        question: What the decisive claims answer, as the page's title; a general one if empty.
        preferences: What the human study adds; None leaves its section out.
        lineage: Where each number comes from; None leaves the section out.

    Returns:
        A whole HTML page.
    """
    shown = measured(comparison, methods)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            joint=comparison[comparison["experiment"] != "all"]["experiment"].nunique() > 1,
            subject=_subject(train_prompts(comparison)),
            methods=shown,
            trained=[method for method in shown if method.name != BASE.name],
            question=headline.question(claims, question),
            verdict=headline.verdict_word(claims),
            answer=headline.answer(comparison, claims, shown),
            caveat=headline.caveat(comparison),
            has_judge="judge" in set(comparison["metric"]),
            provenance=provenance,
            **lineage_context(lineage, shown),
            plotly=Markup(get_plotlyjs()),
            **_tables(comparison, shown),
            **section_figures(comparison, curves, shown),
            **_alarms(curves, shown),
            **picture_sections(materials, comparison, shown),
            dark=dark_colours(method.colour for method in shown),
            scenes=scenes(filmstrips, shown),
            claims=_claim_rows(claims),
            **_votes(preferences),
            origin=headline.claims_origin(claims),
            of_paper=bool(claims["from_paper"].astype(bool).any()),
        )
    )


def _environment() -> jinja2.Environment:
    """Make what fills the report's template, with the filters that it uses."""
    environment = template_environment(TEMPLATES)
    environment.filters["in_words"] = headline.count_in_words
    environment.filters["upper_first"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["ended"] = _ended
    environment.filters["contents"] = _contents
    return environment


def _contents(sections: Markup) -> list[tuple[str, Markup]]:
    """List the id and heading of each section that has them."""
    found = re.findall(r'<section id="([\w-]+)">\s*<h2>(.*?)</h2>', sections)
    return [(place, Markup(title)) for place, title in found]


def _votes(preferences: Preferences | None) -> dict[str, object]:
    figure = None if preferences is None else preferences.figure
    label = "Shares of the votes, as in the table below"
    drawn = None if figure is None else Figure("", figure_html(figure, label), wide=True)
    return {"votes": preferences, "votes_figure": drawn}


def _ended(text: str) -> str:
    """End a sentence that has no end yet; a quotation may bring its own."""
    return text if not text or text.rstrip("”").endswith((".", "!", "?")) else f"{text}."


def _subject(prompts: Sequence[str]) -> str:
    if len(prompts) == 1:
        return f"the prompt “{prompts[0]}”"
    return f"{headline.count_in_words(len(prompts))} prompts"


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
