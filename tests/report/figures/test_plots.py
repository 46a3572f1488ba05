from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.report.figures.curves import learning_curves, smooth
from dpok_pipeline.report.figures.frontier import reward_against_kl
from dpok_pipeline.report.figures.plots import score_bars, value_range
from tests.evaluation.synthetic import (
    MANY,
    METHODS,
    compare_all,
    make_curves,
    make_scores,
)

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("report plots")


@pytest.fixture(scope="module")
def comparison():
    return compare_all(*make_scores(images=24), replicates=200)


@pytest.fixture(scope="module")
def one():
    return compare_all(*make_scores(("color",), images=24), replicates=200)


def cell(comparison, prompt_id, name, quantity):
    rows = comparison.set_index(["prompt_id", "metric", "quantity"])
    return rows.loc[(prompt_id, name, quantity)]


def test_bars_carry_means_and_intervals(comparison):
    figure = score_bars(comparison, "image_reward", METHODS, "train")
    assert [bar.name for bar in figure.data] == ["Base", "SFT", "DPOK"]
    assert all(bar.type == "bar" and len(bar.y) == 4 for bar in figure.data)
    expected = cell(comparison, "color-train", "image_reward", "dpok")
    bar = figure.data[2]
    assert bar.y[0] == pytest.approx(expected["mean"])
    assert bar.y[0] + bar.error_y.array[0] == pytest.approx(expected["high"])
    assert bar.y[0] - bar.error_y.arrayminus[0] == pytest.approx(expected["low"])


def test_a_share_is_drawn_in_per_cent(comparison):
    bar = score_bars(comparison, "judge", METHODS, "train").data[0]
    assert bar.y[0] == pytest.approx(100 * cell(comparison, "color-train", "judge", "base")["mean"])


def test_the_aesthetic_score_is_drawn_as_points(comparison):
    assert {trace.type for trace in score_bars(comparison, "aesthetic", METHODS).data} == {
        "scatter"
    }


def test_both_splits_in_one_figure(one):
    assert len(score_bars(one, "image_reward", METHODS, None).data[0].y) == 2


def test_too_many_prompts_are_shown_by_their_mean(comparison, monkeypatch):
    monkeypatch.setattr("dpok_pipeline.report.figures.plots.MOST_GROUPS", 3)
    assert list(score_bars(comparison, "image_reward", METHODS).data[0].x) == [
        "Mean over<br>prompts"
    ]


@pytest.mark.parametrize("name", ["image_reward", "aesthetic", "judge", "saturation"])
def test_the_axis_holds_every_interval(comparison, name):
    low, high = value_range(comparison, name, METHODS)
    rows = comparison[
        (comparison["metric"] == name) & comparison["quantity"].isin(["base", "dpok"])
    ]
    scale = 100 if name == "judge" else 1
    assert low <= scale * rows["low"].min()
    assert high >= scale * rows["high"].max()


def test_markup_in_a_prompt_is_shown_and_not_obeyed(one):
    rows = one.assign(prompt="<b>A</b> & <a href='x'>cat</a>")
    figure = score_bars(rows, "image_reward", METHODS, "train")
    label = figure.data[0].x[0].replace("<br>", " ")
    assert "<" not in label
    assert "&lt;b&gt;A&lt;/b&gt; &amp;" in label


def test_learning_curve_has_the_measured_and_the_smoothed_line(one):
    curve = make_curves()
    figure = learning_curves({"dpok": curve}, one, METHODS)
    assert list(figure.data[0].y) == list(curve["reward/mean"])
    assert list(figure.data[0].x) == list(curve["images_seen"])
    assert len(figure.layout.shapes) == 3  # the finished models
    labels = [annotation.text for annotation in figure.layout.annotations]
    assert sorted(labels) == ["<b>Base</b>", "<b>DPOK</b>", "<b>SFT</b>"]


def test_labels_of_close_levels_do_not_overlap(one):
    close = one.copy()
    rows = (close["metric"] == "image_reward") & close["quantity"].isin(["base", "sft", "dpok"])
    close.loc[rows, "mean"] = 1.0
    figure = learning_curves({"dpok": make_curves()}, close, METHODS)
    heights = sorted(annotation.y for annotation in figure.layout.annotations)
    assert np.diff(heights).min() > 0.05


def test_a_curve_without_rewards_is_left_out(one):
    figure = learning_curves(
        {"sft": pd.DataFrame({"images_seen": [1], "loss": [0.1]})}, one, METHODS
    )
    assert len(figure.data) == 0


def test_reward_against_kl_has_the_path_and_the_finished_models(one):
    figure = reward_against_kl({"dpok": make_curves()}, one, METHODS)
    names = [trace.name for trace in figure.data]
    assert names == ["DPOK, while training", "Base", "SFT", "DPOK"]
    assert figure.data[1].x[0] == 0
    assert figure.data[3].x[0] == pytest.approx(cell(one, "color-train", "kl", "dpok")["mean"])


def test_without_a_measured_kl_only_path_and_base_are_drawn(one):
    figure = reward_against_kl({"dpok": make_curves()}, one[one["metric"] != "kl"], METHODS)
    assert [trace.name for trace in figure.data] == ["DPOK, while training", "Base"]


def test_smoothing_keeps_a_constant_and_the_length():
    assert smooth(pd.Series([2.0] * 25)).tolist() == [2.0] * 25
    assert len(smooth(pd.Series(np.arange(7.0)))) == 7


def test_figures_are_plain_json(comparison):
    figure = score_bars(comparison, "image_reward", METHODS)
    assert json.loads(figure.to_json())["data"][0]["type"] == "bar"


class TestManyMethods:
    """More methods than bars or curves have room for."""

    def test_methods_are_rows_and_experiments_panels(self, joint):
        figure = score_bars(joint, "judge", MANY, None)
        assert len(figure.data) == 2 * 5  # two splits of the mean and of four experiments
        assert {trace.type for trace in figure.data} == {"scatter"}
        labels = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
        assert [labels[-place] for place in range(15)] == [method.label for method in MANY]
        trace = figure.data[2]  # of the first experiment's training prompt
        assert list(trace.marker.color) == [method.colour for method in MANY]
        expected = cell(joint, "color-train", "judge", "dpok")
        place = [method.name for method in MANY].index("dpok")
        assert trace.x[place] == pytest.approx(100 * expected["mean"])
        assert trace.x[place] + trace.error_x.array[place] == pytest.approx(100 * expected["high"])
        assert round(trace.y[place]) == -place

    def test_one_split_stands_in_the_middle_of_its_row(self, single):
        figure = score_bars(single, "image_reward", MANY)
        assert len(figure.data) == 1
        assert list(figure.data[0].y) == [-place for place in range(15)]

    def test_a_panel_names_the_prompts_behind_their_marks(self, single):
        (title, axis) = score_bars(single, "image_reward", MANY, None).layout.annotations
        assert title.text == "● A green colored rabbit.<br>○ A green colored cat."
        assert axis.text == "ImageReward"

    def test_too_many_panels_are_shown_by_their_mean(self, joint, monkeypatch):
        monkeypatch.setattr("dpok_pipeline.report.figures.plots.MOST_PANELS", 4)
        assert len(score_bars(joint, "image_reward", MANY).data) == 1
        apart = joint[joint["experiment"] != "all"]
        assert len(score_bars(apart, "image_reward", MANY).data) == 4

    def test_the_axis_of_points_need_not_begin_at_0(self, joint):
        low, high = value_range(joint, "aesthetic", MANY)
        assert 4 < low < high < 6.5
        low, high = value_range(joint, "judge", MANY)
        assert -3 <= low < high <= 103

    def test_each_curve_has_a_panel_before_all_others(self, single):
        names = ["dpok", "dpok_no_kl", "dpok_value", "dpok_one_update", "rwr"]
        curves = {name: make_curves(seed=place) for place, name in enumerate(names)}
        curves["sft"] = pd.DataFrame({"images_seen": [1], "policy/loss": [0.1]})
        figure = learning_curves(curves, single, MANY)
        assert len(figure.data) == 5 * 3
        titles = [note.text for note in figure.layout.annotations[:5]]
        labels = {method.name: method.label for method in MANY}
        assert titles == [f"<b>{labels[name]}</b>" for name in names]
        assert len({trace.xaxis for trace in figure.data}) == 5
        # The base model's level and the method's own.
        assert len(figure.layout.shapes) == 5 * 2
        grey = figure.data[0]
        assert sum(value is None for value in grey.x) == 5

    def test_few_curves_of_many_methods_are_one_figure_with_their_levels(self, single):
        figure = learning_curves({"dpok": make_curves(), "rwr": make_curves(seed=1)}, single, MANY)
        assert len(figure.data) == 2 * 2
        labels = {annotation.text for annotation in figure.layout.annotations}
        assert labels == {"<b>Base</b>", "<b>DPOK</b>", "<b>Online RWR</b>"}


def test_two_methods_and_one_have_bars():
    for methods in (METHODS[:2], METHODS[:1]):
        comparison = compare_all(*make_scores(("color",), images=8), methods=methods, replicates=50)
        figure = score_bars(comparison, "image_reward", methods)
        assert [bar.name for bar in figure.data] == [method.label for method in methods]
        assert len(learning_curves({}, comparison, methods).layout.shapes) == len(methods)
