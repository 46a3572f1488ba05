from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.report.figures.frontier import (
    LINE,
    WIDE_WIDTHS,
    Box,
    Page,
    Point,
    frontier,
    place_labels,
    reward_against_kl,
)
from tests.evaluation.synthetic import (
    MANY,
    MANY_EFFECTS,
    METHODS,
    compare_all,
    make_curves,
    make_scores,
)

SCALE = ((0.0, 1.0), (0.0, 1.0), 400.0)


def at(name: str, kl: float, reward: float) -> Point:
    method = MethodLabel(name, name, "#000000")
    return Point(method, Interval(kl, kl, kl), Interval(reward, reward, reward))


def test_the_frontier_is_what_no_other_method_beats_in_both():
    points = [at(*values) for values in (
        ("base", 0, 0), ("near", 0.2, 0.5), ("worse", 0.3, 0.4), ("far", 0.9, 0.9),
        ("same reward, further", 0.5, 0.5),
    )]  # fmt: skip
    assert [point.method.name for point in frontier(points)] == ["base", "near", "far"]
    assert [point.method.name for point in frontier(points[::-1])] == ["base", "near", "far"]


def boxes(points, width):
    page = Page(points, SCALE, width)
    places = place_labels(points, SCALE, WIDE_WIDTHS)
    return [page.label(point, place) for point, place in zip(points, places, strict=True)]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0.05, 0.8), st.floats(0.1, 0.9)), min_size=1, max_size=15, unique=True
    )
)
def test_no_two_labels_overlap_wherever_the_points_are(positions):
    points = [at(f"method {place}", *position) for place, position in enumerate(positions)]
    for width in WIDE_WIDTHS:
        for one, other in itertools.combinations(boxes(points, width), 2):
            assert not one.overlaps(other)


def test_labels_of_points_in_one_place_are_stacked():
    points = [at(f"method {place}", 0.5, 0.5) for place in range(12)]
    for one, other in itertools.combinations(boxes(points, 640), 2):
        assert not one.overlaps(other)


def test_a_label_alone_stands_to_the_right_of_its_point():
    (place,) = place_labels([at("one", 0.2, 0.5)], SCALE, [640])
    assert place.right > 0
    assert abs(place.up) < LINE


def test_boxes_by_hand():
    assert Box(0, 0, 2, 2).overlaps(Box(1, 1, 3, 3))
    assert not Box(0, 0, 1, 1).overlaps(Box(1, 0, 2, 1))  # they touch
    assert not Box(0, 0, 1, 1).overlaps(Box(0, 2, 1, 3))


@pytest.fixture(scope="module")
def many():
    return compare_all(*make_scores(images=12, effects=MANY_EFFECTS), methods=MANY, replicates=100)


def test_many_methods_have_a_frontier_and_a_label_each(many):
    curves = {name: make_curves() for name in ("dpok", "rwr")}
    figure = reward_against_kl(curves, many, MANY)
    assert [trace.name for trace in figure.data] == ["frontier", *(m.label for m in MANY)]
    assert [note.text for note in figure.layout.annotations] == [f"<b>{m.label}</b>" for m in MANY]
    best = figure.data[0]
    assert list(best.x) == sorted(best.x)
    assert list(best.y) == sorted(best.y)
    assert best.x[0] == 0
    low, high = figure.layout.yaxis.range
    for trace in figure.data[1:]:
        assert low < trace.y[0] - trace.error_y.arrayminus[0]
        assert trace.y[0] + trace.error_y.array[0] < high


def test_rows_of_all_experiments_are_shown_by_their_mean(many):
    figure = reward_against_kl({}, many, MANY)
    mean = many[(many["prompt_id"] == "mean") & (many["split"] == "train")]
    cells = mean.set_index(["metric", "quantity"])["mean"]
    assert figure.data[1 + 2].x[0] == pytest.approx(cells["kl", "dpok"])
    assert figure.data[1 + 2].y[0] == pytest.approx(cells["image_reward", "dpok"])


@pytest.mark.parametrize("count", [1, 2])
def test_few_methods(count):
    methods = METHODS[:count]
    comparison = compare_all(*make_scores(("color",), images=8), methods=methods, replicates=50)
    figure = reward_against_kl({}, comparison, methods)
    assert [trace.name for trace in figure.data] == [method.label for method in methods]
