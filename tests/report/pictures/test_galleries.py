"""Which images are the worst and which were hacked, by numbers made by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from dpok_pipeline.report.pictures.galleries import hacked, witness, worst

NAN = float("nan")
#: Reward, aesthetic score and judge of five noises.
BASE = [(0.0, 6.0, 1), (1.0, 6.0, 0), (0.5, 6.0, 1), (0.0, 6.0, 0), (0.0, 6.0, 1)]
DPOK = [
    (2.0, 5.0, 0),  # up by 2, wrong, 1 less beautiful
    (1.5, 3.0, 0),  # up by 0.5, wrong, 3 less beautiful
    (1.5, 6.5, 1),  # up by 1, right
    (-1.0, 1.0, 0),  # down, wrong
    (3.0, 6.0, 1),  # up by 3, right, as beautiful as before
]


def scores(**methods: list[tuple[float, float, float]]) -> pd.DataFrame:
    """Scores of one training prompt; every unseen image would come first, if it were looked at."""
    rows = []
    for method, values in methods.items():
        for index, (reward, aesthetic, judge) in enumerate(values):
            row = {
                "prompt_id": "a", "split": "train", "method": method, "index": index,
                "image_reward": reward, "aesthetic": aesthetic, "judge": judge,
            }  # fmt: skip
            unseen = {"prompt_id": "b", "split": "unseen", "image_reward": -9.0, "judge": 0.0}
            rows += [row, {**row, **unseen}]
    return pd.DataFrame(rows)


@pytest.fixture
def both() -> pd.DataFrame:
    return scores(base=BASE, dpok=DPOK)


def noises(rows: pd.DataFrame) -> list[int]:
    assert set(rows["split"]) <= {"train"}
    return list(rows["index"])


def test_the_worst_are_those_of_the_lowest_reward(both: pd.DataFrame) -> None:
    assert noises(worst(both, "dpok")) == [3, 1, 2, 0, 4]
    assert noises(worst(both, "base")) == [0, 3, 4, 2, 1]


def test_hacked_is_reward_up_and_judge_no_by_the_gain(both: pd.DataFrame) -> None:
    assert witness(both) == "judge"
    assert noises(hacked(both, "dpok")) == [0, 1]


def test_without_a_judge_hacked_is_reward_up_and_beauty_down_by_the_loss(
    both: pd.DataFrame,
) -> None:
    table = both.drop(columns="judge")
    assert witness(table) == "aesthetic"
    assert noises(hacked(table, "dpok")) == [1, 0]


def test_without_a_witness_nothing_is_hacked(both: pd.DataFrame) -> None:
    table = both.drop(columns=["judge", "aesthetic"])
    assert witness(table) is None
    assert hacked(table, "dpok").empty
    assert noises(worst(table, "dpok"))[0] == 3


def test_a_judge_that_is_the_reward_itself_is_no_witness(both: pd.DataFrame) -> None:
    table = both.drop(columns=["judge", "image_reward"]).rename(columns={"aesthetic": "reward"})
    assert witness(table) is None
    assert noises(worst(table, "dpok")) == [3, 1, 0, 4, 2]


def test_ties_go_by_prompt_and_noise_whatever_the_order_of_the_rows() -> None:
    table = scores(base=[(0, 6, 1)] * 3, dpok=[(1, 6, 0)] * 3)
    second = table[table["split"] == "train"].assign(prompt_id="0")
    shuffled = pd.concat([table, second])[::-1]
    for ordered in (worst(shuffled, "dpok"), hacked(shuffled, "dpok")):
        keys = list(ordered[["prompt_id", "index"]].itertuples(index=False, name=None))
        assert keys == [("0", 0), ("0", 1), ("0", 2), ("a", 0), ("a", 1), ("a", 2)]


def test_a_method_that_is_not_there_has_nothing(both: pd.DataFrame) -> None:
    assert worst(both, "rwr").empty
    assert hacked(both, "rwr").empty
    assert hacked(scores(dpok=DPOK), "dpok").empty  # no base model to have risen above


def test_images_without_a_score_are_not_chosen() -> None:
    table = scores(base=[(0, 6, 1)] * 3, dpok=[(NAN, 6, 0), (1, 6, NAN), (2, 6, 0)])
    assert noises(worst(table, "dpok")) == [1, 2]
    assert noises(hacked(table, "dpok")) == [2]
