"""Which scorer reports take for what training maximises."""

from __future__ import annotations

import pytest
from kedro.io import DataCatalog, MemoryDataset

from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.opening import _check_maximised
from dpok_pipeline.rewards.load import ScorerConfig

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
