"""The headline of a run: its metrics, the view of the run table, the text."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from dpok_pipeline.tracking.headline import (
    experiment_note,
    experiment_title,
    headline_columns,
    headline_metrics,
    markdown_table,
    run_note,
    saved_view,
)
from tests.evaluation.synthetic import METHODS, compare_all, make_scores


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return make_scores(("color", "count"), images=6)[0]


@pytest.fixture(scope="module")
def comparison(scores: pd.DataFrame) -> pd.DataFrame:
    return compare_all(scores, replicates=20)


def test_every_method_has_its_means_over_training_prompts(
    scores: pd.DataFrame, comparison: pd.DataFrame
) -> None:
    metrics = headline_metrics(comparison, METHODS)
    names = [method.name for method in METHODS]
    assert set(metrics) == {
        f"{place}{metric}/{name}"
        for place in ("", "color/", "count/")
        for metric in ("reward", "aesthetic", "judge")
        for name in names
    }
    train = scores[scores["split"] == "train"].set_index(["experiment", "method"])
    color = train.loc["color", "dpok"]["judge"].mean()
    count = train.loc["count", "dpok"]["judge"].mean()
    assert metrics["color/judge/dpok"] == pytest.approx(color, abs=1e-4)
    assert metrics["judge/dpok"] == pytest.approx((color + count) / 2, abs=1e-4)


def test_a_method_of_some_experiments_has_no_mean_over_all(scores: pd.DataFrame) -> None:
    others = (scores["method"] != "sft") | (scores["experiment"] == "color")
    comparison = compare_all(scores[others], replicates=20)
    metrics = headline_metrics(comparison, METHODS)
    assert "color/reward/sft" in metrics
    assert not {"reward/sft", "count/reward/sft"} & set(metrics)
    assert "reward/dpok" in metrics
    assert "reward/sft" not in headline_columns(comparison, METHODS)


def test_a_reward_of_the_users_own_is_the_reward(scores: pd.DataFrame) -> None:
    mine = compare_all(scores.assign(reward=1.5), replicates=20)
    metrics = headline_metrics(mine, METHODS)
    assert metrics["reward/dpok"] == 1.5
    assert "image_reward/dpok" in metrics


def test_the_view_of_the_run_table_has_the_headline_as_columns(comparison: pd.DataFrame) -> None:
    columns = headline_columns(comparison, METHODS)
    assert columns[:2] == [f"reward/{METHODS[0].name}", f"reward/{METHODS[1].name}"]
    assert set(columns) <= set(headline_metrics(comparison, METHODS))
    view = json.loads(saved_view(columns, 7))
    assert (view["createdAt"], view["name"]) == (7, "The paper's table")
    selected = json.loads(view["state"])["selectedColumns"]
    assert selected[0] == f"metrics.`{columns[0]}`"


def test_the_texts_hold_the_table_and_the_command(comparison: pd.DataFrame) -> None:
    table = markdown_table(comparison, METHODS)
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(comparison[["experiment", "split", "prompt"]].drop_duplicates())
    note = run_note("kedro run", {"git.sha": "0" * 40, "git.dirty": "true"}, table)
    assert note.startswith(table)
    assert "commit `000000000000`, which lacks changes or settings of this run: `kedro run`" in note
    assert "kedro run --env smoke" in experiment_note("smoke", table)
    assert experiment_note("base", table).startswith(experiment_title("base"))
