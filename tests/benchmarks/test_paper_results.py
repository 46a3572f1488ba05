from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from benchmarks.paper_results import (
    BEGIN,
    EMPTY,
    END,
    RESULTS,
    fill_page,
    our_numbers,
    paper_table,
)

from dpok_pipeline.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "stable_diffusion.md"


def comparison(rows: list[tuple[str, str, str, str, str, float]]) -> pd.DataFrame:
    columns = ["experiment", "prompt_id", "split", "metric", "quantity", "mean"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(low=frame["mean"] - 0.5, high=frame["mean"] + 0.5)


JOINT = comparison(
    [
        *(
            (name, "a-prompt", "train", "image_reward", "base", 9.0)
            for name in ("color", "composition", "count", "location")
        ),
        ("all", "mean", "train", "image_reward", "base", -0.25),
        ("all", "mean", "unseen", "image_reward", "base", 9.0),
        ("all", "mean", "train", "image_reward", "dpok", 1.5),
    ]
)
MOON = comparison([("location", "a-dog", "train", "aesthetic", "dpok", 5.0)])


def test_our_numbers_are_those_of_the_training_prompts_mean() -> None:
    numbers = our_numbers("official_code", {"comparison": JOINT, "location.comparison": MOON})
    assert {row[1:4]: value for row, value in numbers.items()} == {
        ("the four single prompts, mean", "Base", "ImageReward"): "−0.25 (−0.75 to 0.25)",
        ("the four single prompts, mean", "DPOK", "ImageReward"): "1.50 (1.00 to 2.00)",
        ("A dog on the moon.", "DPOK", "Aesthetic score"): "5.00 (4.50 to 5.50)",
    }


def test_some_of_the_four_prompts_are_not_their_mean() -> None:
    part = JOINT[JOINT["experiment"].isin(["color", "count", "all"])]
    assert our_numbers("official_code", {"comparison": part}) == {}


def test_a_page_keeps_the_numbers_of_other_presets() -> None:
    page = f"before\n{BEGIN}\n{paper_table({})}\n{END}\nafter\n"
    first = fill_page(page, our_numbers("official_code", {"comparison": JOINT}))
    second = fill_page(first, our_numbers("paper_reading", {"location.comparison": MOON}))
    assert second.startswith("before\n")
    assert second.endswith("\nafter\n")
    for number in ("| −0.25 (−0.75 to 0.25) |", "| 1.50 (1.00 to 2.00) |", "| 5.00 (4.50 to 5.50)"):
        assert second.count(number) == 1
    assert second.count(EMPTY) == len(RESULTS) - 3
    assert fill_page(second, {}) == second


def test_every_number_of_the_paper_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert fill_page(text, {}) == text
    assert len({result.row for result in RESULTS}) == len(RESULTS)


def test_a_page_without_the_table() -> None:
    with pytest.raises(InputError, match="no table between"):
        fill_page("nothing here", {})
