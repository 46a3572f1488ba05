from __future__ import annotations

import pytest

from dpok_pipeline.evaluation.comparison import compare
from dpok_pipeline.evaluation.names import metric
from dpok_pipeline.report.tables import difference_table, level_table, terminal_table
from tests.evaluation.synthetic import make_scores


@pytest.fixture(scope="module")
def comparison():
    return compare(*make_scores(images=24), replicates=200)


@pytest.mark.parametrize(
    ("name", "value", "signed", "expected"),
    [
        ("image_reward", -0.456, False, "−0.46"),
        ("image_reward", 0.456, True, "+0.46"),
        ("image_reward", -0.001, True, "0.00"),
        ("judge", 0.734, False, "73 %"),
        ("judge", -0.1, True, "−10"),
        ("kl", 0.00612, False, "0.0061"),
        ("a_score_of_my_own", 1.0, False, "1.00"),
    ],
)
def test_numbers_are_written_by_their_metric(name, value, signed, expected):
    assert metric(name).number(value, signed) == expected


def test_the_reward_comes_first_and_a_scorer_of_the_users_own_last():
    scores = make_scores(("color",), images=12, judge=False)[0]
    scores = scores.assign(sharpness=scores["aesthetic"], reward=scores["image_reward"])
    compared = compare(scores, replicates=100)
    expected = ["Reward", "ImageReward", "Aesthetic score", "sharpness"]
    assert [label for label, _ in level_table(compared).header] == expected
    assert "sharpness" in terminal_table(compared)


def test_the_level_table_has_a_row_per_prompt_and_a_column_per_metric_and_model(comparison):
    table = level_table(comparison)
    assert [label for label, _ in table.header] == ["ImageReward", "Aesthetic score", "Judge"]
    assert [label for label, _ in table.groups] == ["Training prompts", "Unseen prompts"]
    for _, rows in table.groups:
        assert [row.total for row in rows] == [False] * 4 + [True]
        assert all(len(row.cells) == 9 for row in rows)


def test_the_best_model_is_marked_and_equals_are_marked_together(comparison):
    rewards = level_table(comparison).groups[0][1][0].cells[:3]
    assert [cell.best for cell in rewards] == [False, False, True]
    level = comparison.copy()
    level.loc[level["metric"] == "image_reward", ["mean", "low", "high"]] = 0.5
    assert all(cell.best for cell in level_table(level).groups[0][1][0].cells[:3])


def test_a_metric_with_no_better_side_has_no_best(comparison):
    cells = level_table(comparison, ["saturation", "kl"]).groups[0][1][0].cells
    assert not any(cell.best for cell in cells)
    assert cells[3].number == "0.0000"
    assert cells[3].interval == ""


def test_the_difference_table_gives_the_win_rate(comparison):
    table = difference_table(comparison)
    assert table.header[0] == ("ImageReward", ["DPOK − Base", "DPOK − SFT"])
    assert table.header[2][0] == "Judge, points"
    first = table.groups[0][1][0].cells[0]
    assert first.number.startswith("+1.")
    assert first.note == "wins 100 %"


def test_the_terminal_table(comparison):
    lines = terminal_table(comparison).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].split() == ["Prompt", *["Base", "SFT", "DPOK"] * 3]
    row = next(line for line in lines if line.startswith("A dog on the moon."))
    assert len(row.split("  ")[-1]) > 0
    assert row.count("%") == 3
    assert sum(line.startswith("Mean over prompts") for line in lines) == 2
    widths = {len(line) for line in lines if line[:2] in ("A ", "Fo", "Me", "Pr")}
    assert len(widths) == 1


def test_without_judge_its_columns_are_absent():
    scores, _ = make_scores(("color",), images=8, judge=False)
    text = terminal_table(compare(scores, replicates=50))
    assert "Judge" not in text
    assert "%" not in text
    assert "Training prompt\n" in text


def test_a_missing_model_has_no_column():
    scores, _ = make_scores(("color",), images=8)
    text = terminal_table(compare(scores[scores["model"] != "sft"], replicates=50))
    assert "SFT" not in text
