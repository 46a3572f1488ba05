"""The report of a sweep: what was best, a table of all, and a plot of parameters against scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.evaluation.names import PALETTE, metric
from dpok_pipeline.report.figures.dark import dark_colours
from dpok_pipeline.report.figures.style import FONT, INK, apply_style
from dpok_pipeline.report.rendering import TEMPLATES, figure_html, template_environment
from dpok_pipeline.runs.params import write_value
from dpok_pipeline.sweeps.space import Choices, Dimension, Range, Space
from dpok_pipeline.sweeps.tried import Tried, command, describe, ranked

#: Learning curves that can be told apart.
MOST_CURVES = 6
#: Values of a parameter whose logarithms are shown if the largest is so many times the smallest.
_ORDERS = 10
_HEIGHT = 420  # pixels


class Row(NamedTuple):
    """A setting's row in the table.

    Attributes:
        values: Its parameters' values, as texts.
        cells: Mean and difference from the base model of each score, as texts.
        spread: The objective's lowest and highest mean of a seed; empty with one seed.
        images: Images that each trial has learned from.
        minutes: Minutes of all its trials.
        refused: Whether a guarded score has fallen too far.
        diverged: How a trial has diverged; the row has no cells then.
    """

    values: list[str]
    cells: list[tuple[str, str]]
    spread: str
    images: int
    minutes: str
    refused: bool
    diverged: str


def render_page(
    tried: Sequence[Tried], *, method: Method, space: Space, env: str | None, facts: Sequence[str]
) -> str:
    """Render the report as one HTML page that asks the network for nothing.

    Args:
        tried: What has been tried, at least one setting.
        method: The method.
        space: What was varied.
        env: The environment in use; None is the default.
        facts: Sentences on how the sweep was made.
    """
    order = ranked(tried)
    best, aim = order[0], tried[0].aim
    curves, whole = _curves(order), [one for one in tried if not one.diverged]
    return (
        template_environment(TEMPLATES)
        .get_template("sweep.html.j2")
        .render(
            method=method.label,
            count=len(tried),
            best=describe(best.candidate.setting),
            best_refused=best.verdict.excess > 0,
            best_diverged=best.diverged,
            command=command(method.name, best.candidate.setting, env),
            objective=metric(aim.objective).label,
            reached=metric(aim.objective).number(best.scores.get(aim.objective, math.nan)),
            base=metric(aim.objective).number(best.base_scores[aim.objective]),
            guards=[(metric(name).label, f"{fall:g}") for name, fall in aim.guards.items()],
            facts=facts,
            parameters=[*space],
            scores=[metric(name).label for name in _shown(best)],
            rows=[_row(one, space) for one in order],
            many_seeds=len(best.by_seed) > 1,
            parallel=figure_html(_parallel(whole, space), "Parameters and scores of each setting")
            if len(whole) > 1
            else Markup(),
            curves=figure_html(curves, "Learning curves") if curves.data else Markup(),
            dark=dark_colours(PALETTE),
            plotly=Markup(get_plotlyjs()),
        )
    )


def _shown(one: Tried) -> list[str]:
    """List the scores that the page shows: the objective first."""
    first = one.aim.objective
    return [first, *(name for name in one.base_scores if name != first)]


def _row(one: Tried, space: Space) -> Row:
    names = [] if one.diverged else _shown(one)
    seeds = [metric(one.aim.objective).number(end) for end in sorted(one.by_seed)]
    return Row(
        values=[write_value(one.candidate.setting[name]) for name in space],
        cells=[
            (
                metric(name).number(one.scores[name]),
                metric(name).number(one.scores[name] - one.base_scores[name], signed=True),
            )
            for name in names
        ],
        spread=f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else "",
        images=one.images,
        minutes=f"{one.seconds / 60:.1f}",
        refused=one.verdict.excess > 0,
        diverged=one.diverged,
    )


def _parallel(tried: Sequence[Tried], space: Space) -> go.Figure:
    """Draw each setting as a line through its parameters and its scores."""
    axes = [_parameter_axis(name, space[name], tried) for name in space]
    for name in _shown(tried[0]):
        values = [one.scores[name] for one in tried]
        axes.append({"label": metric(name).label, "values": values})
    objective = [one.scores[tried[0].aim.objective] for one in tried]
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={"color": objective, "colorscale": "Viridis"},
            labelfont={"family": FONT, "size": 13, "color": INK},
            tickfont={"family": FONT, "size": 12, "color": INK},
            # The ends of an axis, with five digits each, above and below the ticks.
            rangefont={"color": "rgba(0,0,0,0)"},
        )
    )
    figure.update_layout(height=_HEIGHT, margin={"l": 70, "r": 70, "t": 60, "b": 30})
    figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", font={"family": FONT})
    return figure


def _parameter_axis(name: str, dimension: Dimension, tried: Sequence[Tried]) -> dict[str, Any]:
    """Return a parameter's axis: of numbers, of their logarithms, or of words in their order."""
    label = name.rpartition(".")[2]
    values = [one.candidate.setting[name] for one in tried]
    known = list(dimension.values) if isinstance(dimension, Choices) else sorted(set(values))  # type: ignore[type-var]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        places = {write_value(value): place for place, value in enumerate(known)}
        return {
            "label": label,
            "values": [places[write_value(value)] for value in values],
            "tickvals": [*places.values()],
            "ticktext": [*places],
        }
    numbers = [float(value or 0) for value in known]
    logs = dimension.log if isinstance(dimension, Range) else _spans_orders(numbers)
    return _number_axis(label, [float(value or 0) for value in values], numbers, logs=logs)


def _spans_orders(numbers: Sequence[float]) -> bool:
    """Say whether numbers are so far apart that their logarithms show more."""
    return min(numbers) > 0 and max(numbers) >= _ORDERS * min(numbers)


def _number_axis(
    label: str, values: list[float], known: Sequence[float], *, logs: bool
) -> dict[str, Any]:
    numbers = sorted({*known})
    axis: dict[str, Any] = {
        "label": label,
        "values": [math.log10(value) for value in values] if logs else values,
    }
    if len(numbers) <= 8:
        axis["tickvals"] = [math.log10(number) if logs else number for number in numbers]
        axis["ticktext"] = [f"{number:g}" for number in numbers]
    elif logs:
        orders = range(math.ceil(math.log10(numbers[0])), math.floor(math.log10(numbers[-1])) + 1)
        axis["tickvals"] = [*orders]
        axis["ticktext"] = [f"{10.0**order:g}" for order in orders]
    return axis


def _curves(order: Sequence[Tried]) -> go.Figure:
    """Draw the rewards of the best settings' rollouts, as means over their trials."""
    figure = go.Figure()
    shown = [one for one in order if all(outcome.curve for outcome in one.outcomes.values())]
    for one, colour in zip(shown[:MOST_CURVES], PALETTE, strict=False):
        curves = [outcome.curve for outcome in one.outcomes.values()]
        # A rollout that was skipped has no reward; the others of its place have.
        means = pd.DataFrame(curves, dtype=float).mean().tolist()
        each = one.images / len(means)
        figure.add_scatter(
            x=[each * (place + 1) for place in range(len(means))],
            y=means,
            name=describe(one.candidate.setting),
            line={"color": colour, "width": 2},
        )
    apply_style(figure, y_title="Mean reward of a rollout")
    figure.update_xaxes(title={"text": "Images of training prompts"})
    return figure
