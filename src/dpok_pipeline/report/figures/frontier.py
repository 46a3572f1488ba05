"""Reward against KL as a Plotly figure: what each method gains at which distance.

`curves` holds the learning curves of one experiment by method, with `reward/mean` and
`kl/noise_mse`; a curve without them is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import BASE, MethodLabel, metric, training_reward
from dpok_pipeline.report.figures.curves import (
    MOST_CURVES,
    Curves,
    method_levels,
    smooth,
    with_columns,
)
from dpok_pipeline.report.figures.style import HALO, HEIGHT, QUIET, apply_style, bold, error_bars

WIDE_HEIGHT = 520  # pixels, where many methods need room for their labels
#: Widths of the axes, in pixels, at which no two labels may overlap: a page is read on any screen.
WIDTHS = (300, 400, 520)
WIDE_WIDTHS = (640, 780, 960)
PADDING = 130  # pixels above and below the axes

CHARACTER, LINE = 7.2, 16  # pixels of a bold label's character and line
NEAR = 10  # pixels from a point to a label beside it
MARK = 6  # pixels from a point's middle to its edge
THIN = 2  # pixels that an interval or a line counts as wide, to either side
PIECES = 24  # of each part of the frontier's line, to see what covers it
STEPS = 14  # tries upwards and downwards


class Point(NamedTuple):
    """A finished method in the plane of KL and reward."""

    method: MethodLabel
    kl: Interval
    reward: Interval


class Box(NamedTuple):
    """A rectangle in pixels; up is positive."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Say whether the two share any area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


class Place(NamedTuple):
    """Where a label stands beside its point: pixels to the right and up to its nearer edge."""

    right: float
    up: float


def reward_against_kl(
    curves: Curves, comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> go.Figure:
    """Show how much reward is bought at which distance from the base model.

    The marks with intervals are the finished methods on the evaluation noise. Few methods' lines
    are the paths of their training runs from the first iteration to the last. Of many, the dotted
    line joins those that no other one beats in both reward and KL.

    Args:
        curves: Learning curves by method.
        comparison: Rows of one experiment, or of all for their mean, as `comparison.compare`
            returns them.
        methods: Methods to show; one whose KL was not measured is left out.
    """
    reward = training_reward(set(comparison["metric"]))
    points = _points(comparison, reward, methods)
    many = len(points) > MOST_CURVES
    paths = with_columns(curves, methods, ["kl/noise_mse", "reward/mean"])
    figure = go.Figure()
    if many:
        _add_frontier(figure, points)
    elif len(paths) <= MOST_CURVES:
        _add_paths(figure, paths)
    for point in points:
        figure.add_scatter(
            x=[point.kl.mean],
            y=[point.reward.mean],
            error_x=error_bars(point.kl, point.method.colour),
            error_y=error_bars(point.reward, point.method.colour),
            mode="markers",
            marker={"color": point.method.colour, "size": 2 * MARK},
            name=point.method.label,
            hovertemplate="KL %{x:.4f}, %{y:.3g}",
        )
    if not figure.data:
        return figure
    x_range, y_range = _ranges(figure)
    height = WIDE_HEIGHT if many else HEIGHT
    scale = (x_range, y_range, height - PADDING)
    places = place_labels(points, scale, WIDE_WIDTHS if many else WIDTHS)
    for point, place in zip(points, places, strict=True):
        figure.add_annotation(_label(point, place))
    figure.update_xaxes(title="KL to the base model (mean squared noise difference)", range=x_range)
    return apply_style(
        figure, y_title=metric(reward).label, y_range=y_range, legend=False, height=height
    )


def frontier(points: Sequence[Point]) -> list[Point]:
    """Select the methods that no other one beats in both reward and KL, from the least KL on."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.kl.mean, -point.reward.mean)):
        if not best or point.reward.mean > best[-1].reward.mean:
            best.append(point)
    return best


def place_labels(
    points: Sequence[Point],
    scale: tuple[tuple[float, float], tuple[float, float], float],
    widths: Sequence[float],
) -> list[Place]:
    """Find a place for each point's label where it covers no other label, and little else.

    Args:
        points: Points in any order; earlier ones choose first.
        scale: Limits of the x axis, of the y axis, and the height of the axes in pixels.
        widths: Widths of the axes in pixels, at all of which the places must do.

    Returns:
        One place per point: the nearest free one, or the one that covers least.
    """
    pages = [Page(points, scale, width) for width in widths]
    places = []
    for point in points:
        tries = list(_tries())
        # The nearest place wins among equals: tries are in the order of their distance.
        costs = [sum(page.cost(point, place) for page in pages) for place in tries]
        place = tries[costs.index(min(costs))]
        places.append(place)
        for page in pages:
            page.labels.append(page.label(point, place))
    return places


class Page:
    """What is drawn on axes of one width, in pixels."""

    def __init__(
        self,
        points: Sequence[Point],
        scale: tuple[tuple[float, float], tuple[float, float], float],
        width: float,
    ) -> None:
        (self._left, right), (self._bottom, top), self._height = scale
        self._width = width
        self._per_x, self._per_y = width / (right - self._left), self._height / (top - self._bottom)
        self.labels: list[Box] = []
        self._marks, self._lines = [], []
        for point in points:
            x, y = self._at(point.kl.mean, point.reward.mean)
            self._marks.append(Box(x - MARK, y - MARK, x + MARK, y + MARK))
            for corners in (
                (
                    *self._at(point.kl.low, point.reward.mean),
                    *self._at(point.kl.high, point.reward.mean),
                ),
                (
                    *self._at(point.kl.mean, point.reward.low),
                    *self._at(point.kl.mean, point.reward.high),
                ),
            ):
                self._lines.append(_around(*corners))
        best = frontier(points) if len(points) > MOST_CURVES else []
        for one, other in pairwise(best):
            ends = [self._at(end.kl.mean, end.reward.mean) for end in (one, other)]
            for piece in range(PIECES):
                x, y = (a + (b - a) * piece / PIECES for a, b in zip(*ends, strict=True))
                self._lines.append(_around(x, y, x, y))

    def _at(self, kl: float, reward: float) -> tuple[float, float]:
        return (kl - self._left) * self._per_x, (reward - self._bottom) * self._per_y

    def label(self, point: Point, place: Place) -> Box:
        """Return the area of a point's label at a place."""
        x, y = self._at(point.kl.mean, point.reward.mean)
        width = CHARACTER * len(point.method.label)
        left = x + place.right if place.right > 0 else x + place.right - width
        middle = y + place.up
        return Box(left, middle - LINE / 2, left + width, middle + LINE / 2)

    def cost(self, point: Point, place: Place) -> float:
        """Count what a label would cover: the edge and labels weigh most, thin lines least."""
        box = self.label(point, place)
        outside = box.left < 0 or box.right > self._width or box.bottom < 0
        beyond = outside or box.top > self._height
        return (
            100 * beyond
            + 100 * sum(map(box.overlaps, self.labels))
            + 10 * sum(map(box.overlaps, self._marks))
            + sum(map(box.overlaps, self._lines))
            + abs(place.up) / LINE / 2
        )


def _around(left: float, bottom: float, right: float, top: float) -> Box:
    """Return the area of a thin line."""
    return Box(left - THIN, bottom - THIN, right + THIN, top + THIN)


def _tries() -> Iterator[Place]:
    """Yield places from the nearest on: right and left of the point, then further up and down."""
    for step in range(STEPS):
        for up in dict.fromkeys((step * LINE * 0.75, -step * LINE * 0.75)):
            aside = NEAR if step < 2 else NEAR + 2 * step
            yield Place(aside, up)
            yield Place(-aside, up)


def _label(point: Point, place: Place) -> go.layout.Annotation:
    """Write a method's name at its place, with a line to the point if it is not beside it."""
    text = {
        "text": bold(point.method.label),
        "x": point.kl.mean,
        "y": point.reward.mean,
        "xanchor": "left" if place.right > 0 else "right",
        "yanchor": "middle",
        "font": {"color": point.method.colour, "size": 12},
        "bgcolor": HALO,
        "borderpad": 0,
    }
    if abs(place.up) < LINE:
        return go.layout.Annotation(**text, showarrow=False, xshift=place.right, yshift=place.up)
    line = {"arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": point.method.colour, "standoff": MARK}
    return go.layout.Annotation(**text, **line, showarrow=True, ax=place.right, ay=-place.up)


def _points(comparison: pd.DataFrame, reward: str, methods: Sequence[MethodLabel]) -> list[Point]:
    """Read the finished methods' places; the base model's distance from itself is 0."""
    distances = {method.name: level for method, level in method_levels(comparison, "kl", methods)}
    distances.setdefault(BASE.name, Interval(0, 0, 0))
    return [
        Point(method, distances[method.name], level)
        for method, level in method_levels(comparison, reward, methods)
        if method.name in distances
    ]


def _add_paths(figure: go.Figure, paths: Sequence[tuple[MethodLabel, pd.DataFrame]]) -> None:
    for method, curve in paths:
        figure.add_scatter(
            x=smooth(curve["kl/noise_mse"]),
            y=smooth(curve["reward/mean"]),
            mode="lines+markers",
            line={"color": method.colour, "width": 1.5},
            marker={"size": 4},
            opacity=0.55,
            name=f"{method.label}, while training",
        )


def _add_frontier(figure: go.Figure, points: Sequence[Point]) -> None:
    best = frontier(points)
    figure.add_scatter(
        x=[point.kl.mean for point in best],
        y=[point.reward.mean for point in best],
        mode="lines",
        line={"color": QUIET, "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
        name="frontier",
    )


def _ranges(figure: go.Figure) -> tuple[tuple[float, float], tuple[float, float]]:
    """Find axis limits that hold all lines, marks and intervals."""
    spans = []
    for axis, bars in (("x", "error_x"), ("y", "error_y")):
        ends: list[float] = []
        for trace in figure.data:
            below, above = (trace[bars][side] or [0] for side in ("arrayminus", "array"))
            ends += [value - below[0] for value in trace[axis]]
            ends += [value + above[0] for value in trace[axis]]
        spans.append((float(np.nanmin(ends)), float(np.nanmax(ends))))
    furthest = max(spans[0][1], 1e-9)
    low, high = spans[1]
    pad = 0.06 * max(high - low, 1e-3)
    # Room for the base model's mark at 0 and for the last label.
    return (-0.04 * furthest, 1.2 * furthest), (low - pad, high + pad)
