"""What is said of scorers before any work: which is the reward, and what they do not see."""

from __future__ import annotations

import pytest
from kedro.io import DataCatalog, MemoryDataset

from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.opening import _check_maximised, _warn_of_cut_prompts
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.rewards.scorer import WeightedSum
from tests.project import NotANumber
from tests.rewards.conftest import tiny_image_reward

BRIGHT, DARK = "tests.project.BrightJudge", "tests.project.NotANumber"


def catalog(maximised: str, /, **scorers: str) -> DataCatalog:
    specs = {name: ScorerConfig(kind=kind) for name, kind in scorers.items()}
    return DataCatalog(
        {
            "reward_model": MemoryDataset(ScorerConfig(kind=maximised), copy_mode="assign"),
            "scorers": MemoryDataset(specs, copy_mode="assign"),
        }
    )


@pytest.mark.parametrize(
    "scorers",
    [
        {"image_reward": BRIGHT},
        {"image_reward": DARK, "reward": BRIGHT},
        {"judge": DARK},  # What training maximises is not shown.
    ],
)
def test_the_reward_may_be_shown_by_either_name_or_not_at_all(scorers: dict[str, str]) -> None:
    _check_maximised(catalog(BRIGHT, **scorers))


@pytest.mark.parametrize("name", ["image_reward", "reward"])
def test_another_scorer_is_not_shown_as_what_training_maximises(name: str) -> None:
    with pytest.raises(InputError, match=f"scorers.{name}: reports show it as what training"):
        _check_maximised(catalog(BRIGHT, **{name: DARK}))


def test_the_number_type_makes_no_other_scorer() -> None:
    made = catalog(BRIGHT, image_reward=BRIGHT)
    other = {"image_reward": ScorerConfig(kind=BRIGHT, precision="bfloat16")}
    made["scorers"] = MemoryDataset(other, copy_mode="assign")
    _check_maximised(made)


def test_prompts_of_which_a_part_of_the_reward_does_not_see_the_end_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = " ".join(["cat"] * 80)
    reward = WeightedSum({"one": (1.0, tiny_image_reward()), "two": (1.0, NotANumber())})
    _warn_of_cut_prompts("reward_model", reward, ["a cat", long])
    assert "reward_model.one: does not see the end of 1 prompts" in caplog.text
    assert "'cat cat" in caplog.text
    caplog.clear()
    _warn_of_cut_prompts("reward_model", reward, ["a cat"])
    assert not caplog.text
