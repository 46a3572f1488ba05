"""The study in the report: a figure and a table of the votes, and whose votes they are."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dpok_pipeline.evaluation.names import MethodLabel, find_method
from dpok_pipeline.report.figures.style import INK, NEITHER, apply_style, bold
from dpok_pipeline.report.page import Preferences
from dpok_pipeline.report.tables import Cell, Table, TableRow
from dpok_pipeline.study.results import CHOICES, PEOPLE, STAND_IN
from dpok_pipeline.study.stand_in import STAND_IN_LABEL, name_pictures
from dpok_pipeline.study.votes import QUESTIONS

logger = logging.getLogger(__name__)

OTHER_PICTURES = (
    "These votes are about other pictures than the report shows; `kedro run --from-nodes "
    "make_study_page_node` makes a page of the present ones."
)
ROW_HEIGHT = 44  # pixels of one bar and its gap
BETWEEN = 66  # pixels between two contrasts: the labels of one axis, the title of the next
MARGINS = {"l": 12, "r": 24, "t": 44, "b": 52}  # pixels
LABELS = {"alignment": "Alignment", "quality": "Image quality"}


def contrasts(results: pd.DataFrame) -> list[tuple[str, str]]:
    """List the contrasts that were voted on, in their order."""
    pairs = results[["ours", "theirs"]].drop_duplicates()
    return [(str(ours), str(theirs)) for ours, theirs in pairs.itertuples(index=False)]


def preferences(
    results: pd.DataFrame, methods: Sequence[MethodLabel], scores: pd.DataFrame
) -> Preferences:
    """Put together what the report shows of a study.

    Args:
        results: As `results.tally` returns it; empty where nobody has voted, the judge neither.
        methods: Labels and colours of the methods.
        scores: Those of the pictures that the report shows.
    """
    figure = None if results.empty else preference_figure(results, methods)
    lines = list(summary(results))
    # Votes that an earlier release has counted do not say which pictures they are about.
    if "pictures" in results and (results["pictures"] != name_pictures(scores)).any():
        logger.warning("The report: %s", OTHER_PICTURES)
        lines.insert(0, OTHER_PICTURES)
    return Preferences(lines, preference_table(results, methods), figure)


def raters_label(raters: str, count: int) -> str:
    """Say whose votes they are: the judge's never pass for a person's."""
    if raters == STAND_IN:
        return STAND_IN_LABEL
    return "1 person" if count == 1 else f"{count} people"


def preference_table(results: pd.DataFrame, methods: Sequence[MethodLabel]) -> Table:
    """Lay out the shares with their intervals: contrasts, and in them people and the stand-in."""
    header = [
        (LABELS[question], ["first", "no difference", "second", "α"]) for question in QUESTIONS
    ]
    groups = []
    for ours, theirs in contrasts(results):
        of_contrast = _of(results, ours=ours, theirs=theirs)
        first, second = (find_method(methods, name).label for name in (ours, theirs))
        rows = []
        for raters in (PEOPLE, STAND_IN):
            part = _of(of_contrast, raters=raters)
            if not part.empty:
                label = raters_label(raters, int(part["rater_count"].iloc[0]))
                cells = [
                    cell for question in QUESTIONS for cell in _cells(_of(part, question=question))
                ]
                rows.append(TableRow(label, cells))
        pairs = int(of_contrast["pairs"].iloc[0])
        groups.append((f"{first} (first) against {second} (second), {pairs} pairs", rows))
    return Table("Who voted", header, groups)


def _cells(part: pd.DataFrame) -> list[Cell]:
    """Write the shares of one question, and the raters' agreement."""
    if part.empty:
        return [Cell()] * (len(CHOICES) + 1)
    columns = ["choice", "share", "low", "high"]
    shares = {
        str(choice): (100 * float(share), 100 * float(low), 100 * float(high))
        for choice, share, low, high in part[columns].itertuples(index=False)
    }
    cells = [
        Cell(f"{share:.0f} %", f"{low:.0f} to {high:.0f}")
        for share, low, high in (shares[choice] for choice in CHOICES)
    ]
    alpha = float(part["alpha"].iloc[0])
    return [*cells, Cell() if np.isnan(alpha) else Cell(f"{alpha:.2f}".replace("-", "−"))]


def preference_figure(results: pd.DataFrame, methods: Sequence[MethodLabel]) -> go.Figure:
    """Draw the shares as bars from the first method to the second, with ties between them.

    The line at the end of a first bar is the 95 % interval of its share. The stand-in's bars are
    hatched.

    Args:
        results: As `results.tally` returns it.
        methods: Labels and colours of the methods.
    """
    pairs = contrasts(results)
    labels = [[find_method(methods, name) for name in pair] for pair in pairs]
    count, bars = max(len(pairs), 1), max(len(results) // len(CHOICES), 1)
    height = ROW_HEIGHT * bars + BETWEEN * (count - 1)
    figure = make_subplots(
        rows=count,
        cols=1,
        subplot_titles=[_title(*pair) for pair in labels],
        vertical_spacing=BETWEEN / height if count > 1 else 0,
    )
    for row, ((ours, theirs), (first, second)) in enumerate(zip(pairs, labels, strict=True), 1):
        part = _of(results, ours=ours, theirs=theirs)
        for choice, colour, name in (
            (CHOICES[0], first.colour, first.label),
            (CHOICES[1], NEITHER, "no difference"),
            (CHOICES[2], second.colour, second.label),
        ):
            figure.add_trace(_bar(_of(part, choice=choice), colour, name), row=row, col=1)
        figure.add_trace(_interval(_of(part, choice=CHOICES[0])), row=row, col=1)
    height += MARGINS["t"] + MARGINS["b"]
    apply_style(figure, y_title="", legend=False, height=height)
    figure.update_layout(barmode="stack", bargap=0.3, margin=MARGINS)
    # Whiskers at 0 and at 100 % are whole.
    figure.update_xaxes(range=(-0.6, 100.6), tickvals=(0, 25, 50, 75, 100), tickangle=0)
    figure.update_xaxes(row=count, col=1, title_text="% of the votes")
    figure.update_yaxes(autorange="reversed", zeroline=False, showgrid=False)
    figure.update_annotations(font={"size": 14, "color": INK}, x=0, xanchor="left")
    return figure


def _title(first: MethodLabel, second: MethodLabel) -> str:
    """Name the methods of a contrast beside their colours: the figure has no other legend."""
    squares = [
        f'<span style="color:{colour}">■</span>'
        for colour in (first.colour, NEITHER, second.colour)
    ]
    names = [bold(first.label), "no difference", bold(second.label)]
    pairs = zip(squares, names, strict=True)
    return "&nbsp;&nbsp; ".join(f"{square} {name}" for square, name in pairs)


def _bar(rows: pd.DataFrame, colour: str, name: str) -> go.Bar:
    """Draw one choice's shares, one bar per question and group of raters."""
    share = 100 * rows["share"]
    hatched = ["/" if raters == STAND_IN else "" for raters in rows["raters"]]
    pattern = {"shape": hatched, "solidity": 0.2, "fgcolor": "#ffffff", "fillmode": "overlay"}
    return go.Bar(
        x=share,
        y=_labels(rows),
        orientation="h",
        name=name,
        marker={"color": colour, "pattern": pattern},
        hovertemplate=f"{html.escape(name)}: %{{x:.0f}} %<extra></extra>",
    )


def _interval(rows: pd.DataFrame) -> go.Scatter:
    """Draw the intervals of the first method's shares, above the bars that would cover them."""
    share = 100 * rows["share"]
    ends = {"array": 100 * rows["high"] - share, "arrayminus": share - 100 * rows["low"]}
    return go.Scatter(
        x=share,
        y=_labels(rows),
        mode="markers",
        marker={"color": INK, "size": 1},
        error_x={**ends, "color": INK, "thickness": 1.4, "width": 5},
        hoverinfo="skip",
    )


def _labels(rows: pd.DataFrame) -> list[str]:
    """Name the bars by question and raters."""
    columns = ["question", "raters", "rater_count"]
    return [
        f"{LABELS[question]}<br><span style='font-size:11px'>{raters_label(raters, count)}</span>"
        for question, raters, count in rows[columns].itertuples(index=False)
    ]


def summary(results: pd.DataFrame) -> Iterator[str]:
    """Say in sentences who voted, and how far people agree."""
    people = _of(results, raters=PEOPLE)
    if people.empty:
        yield "No person has voted yet."
    else:
        count = int(people["rater_count"].iloc[0])
        yield f"{raters_label(PEOPLE, count)} voted on every pair."
    if not _of(results, raters=STAND_IN).empty:
        yield (
            "The hatched bars are no person’s: the judge stands in, so that the study can be tried "
            "out. It prefers the set with more images right, and the one with the higher mean "
            "aesthetic score; it says nothing of what people prefer."
        )


def _of(results: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Return the rows that have these values."""
    for column, value in values.items():
        results = results[results[column] == value]
    return results
