from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.evaluation.comparison import compare
from dpok_pipeline.report.plots import (
    learning_curves,
    reward_against_kl,
    score_bars,
    smooth,
    value_range,
)
from tests.evaluation.synthetic import make_curves, make_scores


@pytest.fixture(scope="module")
def comparison():
    return compare(*make_scores(images=24), replicates=200)


@pytest.fixture(scope="module")
def one():
    return compare(*make_scores(("color",), images=24), replicates=200)


def cell(comparison, prompt_id, name, quantity):
    rows = comparison.set_index(["prompt_id", "metric", "quantity"])
    return rows.loc[(prompt_id, name, quantity)]


def test_bars_carry_means_and_intervals(comparison):
    figure = score_bars(comparison, "image_reward", "train")
    assert [bar.name for bar in figure.data] == ["Base", "SFT", "DPOK"]
    assert all(bar.type == "bar" and len(bar.y) == 4 for bar in figure.data)
    expected = cell(comparison, "color-train", "image_reward", "rl")
    bar = figure.data[2]
    assert bar.y[0] == pytest.approx(expected["mean"])
    assert bar.y[0] + bar.error_y.array[0] == pytest.approx(expected["high"])
    assert bar.y[0] - bar.error_y.arrayminus[0] == pytest.approx(expected["low"])


def test_a_share_is_drawn_in_per_cent(comparison):
    bar = score_bars(comparison, "judge", "train").data[0]
    assert bar.y[0] == pytest.approx(100 * cell(comparison, "color-train", "judge", "base")["mean"])


def test_the_aesthetic_score_is_drawn_as_points(comparison):
    assert {trace.type for trace in score_bars(comparison, "aesthetic").data} == {"scatter"}


def test_both_splits_in_one_figure(one):
    assert len(score_bars(one, "image_reward", None).data[0].y) == 2


def test_too_many_prompts_are_shown_by_their_mean(comparison, monkeypatch):
    monkeypatch.setattr("dpok_pipeline.report.plots.MOST_GROUPS", 3)
    assert list(score_bars(comparison, "image_reward").data[0].x) == ["Mean over<br>prompts"]


@pytest.mark.parametrize("name", ["image_reward", "aesthetic", "judge", "saturation"])
def test_the_axis_holds_every_interval(comparison, name):
    low, high = value_range(comparison, name)
    rows = comparison[(comparison["metric"] == name) & comparison["quantity"].isin(["base", "rl"])]
    scale = 100 if name == "judge" else 1
    assert low <= scale * rows["low"].min()
    assert high >= scale * rows["high"].max()


def test_markup_in_a_prompt_is_shown_and_not_obeyed(one):
    rows = one.assign(prompt="<b>A</b> & <a href='x'>cat</a>")
    figure = score_bars(rows, "image_reward", "train")
    label = figure.data[0].x[0].replace("<br>", " ")
    assert "<" not in label
    assert "&lt;b&gt;A&lt;/b&gt; &amp;" in label


def test_learning_curve_has_the_measured_and_the_smoothed_line(one):
    curve = make_curves()
    figure = learning_curves({"rl": curve}, one)
    assert list(figure.data[0].y) == list(curve["reward/mean"])
    assert list(figure.data[0].x) == list(curve["images_seen"])
    assert len(figure.layout.shapes) == 3  # the finished models
    labels = [annotation.text for annotation in figure.layout.annotations]
    assert sorted(labels) == ["<b>Base</b>", "<b>DPOK</b>", "<b>SFT</b>"]


def test_labels_of_close_levels_do_not_overlap(one):
    close = one.copy()
    rows = (close["metric"] == "image_reward") & close["quantity"].isin(["base", "sft", "rl"])
    close.loc[rows, "mean"] = 1.0
    figure = learning_curves({"rl": make_curves()}, close)
    heights = sorted(annotation.y for annotation in figure.layout.annotations)
    assert np.diff(heights).min() > 0.05


def test_a_curve_without_rewards_is_left_out(one):
    figure = learning_curves({"sft": pd.DataFrame({"images_seen": [1], "loss": [0.1]})}, one)
    assert len(figure.data) == 0


def test_reward_against_kl_has_the_path_and_the_finished_models(one):
    figure = reward_against_kl({"rl": make_curves()}, one)
    names = [trace.name for trace in figure.data]
    assert names == ["DPOK, while training", "Base", "SFT", "DPOK"]
    assert figure.data[1].x[0] == 0
    assert figure.data[3].x[0] == pytest.approx(cell(one, "color-train", "kl", "rl")["mean"])


def test_without_a_measured_kl_only_path_and_base_are_drawn(one):
    figure = reward_against_kl({"rl": make_curves()}, one[one["metric"] != "kl"])
    assert [trace.name for trace in figure.data] == ["DPOK, while training", "Base"]


def test_smoothing_keeps_a_constant_and_the_length():
    assert smooth(pd.Series([2.0] * 25)).tolist() == [2.0] * 25
    assert len(smooth(pd.Series(np.arange(7.0)))) == 7


def test_figures_are_plain_json(comparison):
    figure = score_bars(comparison, "image_reward")
    assert json.loads(figure.to_json())["data"][0]["type"] == "bar"
