from __future__ import annotations

import pytest

from dpok_pipeline.evaluation.names import metric
from dpok_pipeline.report.tables import (
    difference_table,
    level_table,
    prompt_tables,
    terminal_table,
)
from tests.evaluation.synthetic import MANY, MANY_EFFECTS, METHODS, compare_all, make_scores

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("report tables")


@pytest.fixture(scope="module")
def comparison():
    return compare_all(*make_scores(images=24), replicates=200)


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
    compared = compare_all(scores, replicates=100)
    expected = ["Reward", "ImageReward", "Aesthetic score", "sharpness"]
    assert [label for label, _ in level_table(compared, METHODS).header] == expected
    assert "sharpness" in terminal_table(compared, METHODS)


def test_the_level_table_has_a_row_per_prompt_and_a_column_per_metric_and_method(comparison):
    table = level_table(comparison, METHODS)
    assert [label for label, _ in table.header] == ["ImageReward", "Aesthetic score", "Judge"]
    assert [label for label, _ in table.groups] == ["Training prompts", "Unseen prompts"]
    for _, rows in table.groups:
        assert [row.total for row in rows] == [False] * 4 + [True]
        assert all(len(row.cells) == 9 for row in rows)


def test_the_best_method_is_marked_and_equals_are_marked_together(comparison):
    rewards = level_table(comparison, METHODS).groups[0][1][0].cells[:3]
    assert [cell.best for cell in rewards] == [False, False, True]
    level = comparison.copy()
    level.loc[level["metric"] == "image_reward", ["mean", "low", "high"]] = 0.5
    assert all(cell.best for cell in level_table(level, METHODS).groups[0][1][0].cells[:3])


def test_a_metric_with_no_better_side_has_no_best(comparison):
    cells = level_table(comparison, METHODS, ["saturation", "kl"]).groups[0][1][0].cells
    assert not any(cell.best for cell in cells)
    assert cells[3].number == "0.0000"
    assert cells[3].interval == ""


def test_the_difference_table_gives_the_win_rate(comparison):
    table = difference_table(comparison, METHODS)
    assert table.header[0] == ("ImageReward", ["DPOK − Base", "DPOK − SFT"])
    assert table.header[2][0] == "Judge, points"
    first = table.groups[0][1][0].cells[0]
    assert first.number.startswith("+1.")
    assert first.note == "wins 100 %"


def test_the_terminal_table(comparison):
    lines = terminal_table(comparison, METHODS).splitlines()
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
    text = terminal_table(compare_all(scores, replicates=50), METHODS)
    assert "Judge" not in text
    assert "%" not in text
    assert "Training prompt\n" in text


def test_a_missing_method_has_no_column():
    scores, _ = make_scores(("color",), images=8)
    text = terminal_table(compare_all(scores[scores["method"] != "sft"], replicates=50), METHODS)
    assert "SFT" not in text


class TestManyMethods:
    """More methods than columns have room for are rows."""

    def test_rows_are_methods_and_columns_are_splits_of_the_mean(self, joint):
        table = level_table(joint, MANY)
        assert table.corner == "Method"
        assert table.header[0] == ("ImageReward", ["train", "unseen"])
        ((title, rows),) = table.groups
        assert title == "Mean over prompts"
        assert [row.name for row in rows] == [method.label for method in MANY]
        assert [row.colour for row in rows] == [method.colour for method in MANY]
        means = joint[(joint["prompt_id"] == "mean") & (joint["metric"] == "aesthetic")]
        cells = means.set_index(["split", "quantity"])["mean"]
        assert rows[3].cells[2].number == f"{cells['train', 'dpok_no_kl']:.2f}"
        assert rows[3].cells[3].number == f"{cells['unseen', 'dpok_no_kl']:.2f}"

    def test_the_best_is_marked_in_each_column(self, joint):
        rows = level_table(joint, MANY).groups[0][1]
        for column in range(6):
            numbers = [
                float(row.cells[column].number.rstrip(" %").replace("−", "-")) for row in rows
            ]
            best = [row.cells[column].best for row in rows]
            assert best == [number == max(numbers) for number in numbers]

    def test_one_experiment_names_both_its_prompts(self, single):
        title = level_table(single, MANY).groups[0][0]
        assert title == "train: A green colored rabbit. · unseen: A green colored cat."
        assert prompt_tables(single, MANY) == []

    def test_experiments_without_a_mean_are_groups(self, joint):
        apart = joint[joint["experiment"] != "all"]
        titles = [title for title, _ in level_table(apart, MANY).groups]
        assert len(titles) == 4
        assert titles[2].startswith("train: Four wolves")

    def test_every_prompt_is_in_a_table_of_its_metric(self, joint):
        tables = prompt_tables(joint, MANY)
        assert [title for title, _ in tables] == ["ImageReward", "Aesthetic score", "Judge"]
        table = tables[0][1]
        assert [label for label, _ in table.header] == ["Training prompts", "Unseen prompts"]
        assert table.header[1][1][2] == "Four birds in the park."
        ((_, rows),) = table.groups
        cell = joint.set_index(["prompt_id", "metric", "quantity"]).loc[
            ("count-unseen", "image_reward", "rwr")
        ]
        assert rows[-1].cells[4 + 2].number == metric("image_reward").number(cell["mean"])

    def test_every_contrast_is_a_row(self, joint):
        table = difference_table(joint, MANY)
        titles = [title for title, _ in table.groups]
        assert titles == [
            "Mean over prompts – against each other",
            "Mean over prompts – against the base model",
        ]
        among, with_base = (rows for _, rows in table.groups)
        assert [row.name for row in among] == ["DPOK − SFT"]
        assert len(with_base) == 14
        assert with_base[0].name == "DPOK − Base"
        assert with_base[0].cells[0].note.startswith("wins")
        assert table.header[2] == ("Judge, points", ["train", "unseen"])

    def test_the_terminal_table_fits(self, joint):
        lines = terminal_table(joint, MANY).splitlines()
        assert max(map(len, lines)) <= 100
        assert len(lines) == 3 + 1 + 15
        assert lines[1].split() == ["Method", *["train", "unseen"] * 3]

    def test_metrics_without_room_follow_in_a_block(self):
        scores, _ = make_scores(("color",), images=8, effects=MANY_EFFECTS)
        for number in range(6):
            scores[f"a_score_of_my_own_{number}"] = 1.0
        text = terminal_table(compare_all(scores, methods=MANY, replicates=50), MANY)
        blocks = text.split("\n\n")
        assert len(blocks) > 1
        assert max(map(len, text.splitlines())) <= 100
        for block in blocks:
            assert block.count("SFT, four times as long") == 1
        for number in range(6):
            assert text.count(f"a_score_of_my_own_{number}") == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_methods_are_columns(count):
    methods = METHODS[:count]
    scores = make_scores(("color", "count"), images=8)
    comparison = compare_all(*scores, methods=methods, replicates=50)
    labels = [method.label for method in methods]
    table = level_table(comparison, methods)
    assert table.header[0] == ("ImageReward", labels)
    assert all(len(row.cells) == 3 * count for _, rows in table.groups for row in rows)
    assert any(cell.best for _, rows in table.groups for row in rows for cell in row.cells) == (
        count > 1
    )
    differences = difference_table(comparison, methods)
    assert bool(differences.header) == (count > 1)
    assert prompt_tables(comparison, methods) == []
    assert max(map(len, terminal_table(comparison, methods).splitlines())) <= 100
