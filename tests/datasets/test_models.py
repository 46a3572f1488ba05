"""Models of the hub in the catalog: as Kedro hands its entries over, and pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.context.context import _convert_paths_to_absolute_posix
from kedro.io import DatasetError

from dpok_pipeline.datasets.models import ModelFolderDataset, ScorerDataset, ScorersDataset
from dpok_pipeline.errors import InputError

PINNED = {"revision": "0123456789" * 4}
REWARD = {"kind": "image_reward", "hub_id": "THUDM/ImageReward"}


def _as_kedro_gives_it(entry: dict[str, Any], project: Path) -> dict[str, Any]:
    """Kedro makes every relative `path` absolute before a dataset sees it."""
    return _convert_paths_to_absolute_posix(project, {"entry": entry})["entry"]


def test_a_hub_id_arrives_as_it_was_written(tmp_path: Path) -> None:
    given = _as_kedro_gives_it({**REWARD, **PINNED}, tmp_path)
    assert ScorerDataset(**given).load().path == "THUDM/ImageReward"
    parts = {"one": {"weight": 1.0, **REWARD, **PINNED}}
    given = _as_kedro_gives_it({"kind": "weighted_sum", "parts": parts}, tmp_path)
    assert ScorerDataset(**given).load().parts["one"].path == "THUDM/ImageReward"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (REWARD, "reward_model THUDM/ImageReward"),
        ({"kind": "weighted_sum", "parts": {"one": {"weight": 1.0, **REWARD}}},
         "reward_model.one THUDM/ImageReward"),
        ({"kind": "aesthetic", "path": "/head.pth", "clip_path": "openai/clip"},
         "reward_model openai/clip"),
    ],
)  # fmt: skip
def test_a_hub_id_without_a_revision_is_refused(entry: dict[str, Any], named: str) -> None:
    says = f"{named}: no such folder here.* set its commit as `revision`"
    with pytest.raises(DatasetError, match=says):
        ScorerDataset(**entry).load()


def test_an_embedder_is_pinned_too() -> None:
    with pytest.raises(DatasetError, match="embedder openai/clip: no such folder here"):
        ModelFolderDataset(hub_id="openai/clip").load()


def test_a_path_beside_a_hub_id_is_refused() -> None:
    with pytest.raises(DatasetError, match="either `path` or `hub_id`"):
        ScorerDataset(**REWARD, **PINNED, path="/models/reward").load()


@pytest.mark.parametrize("name", ["prompt", "index", "saturation", "kl", "reward_per_kl", "row"])
def test_no_scorer_can_have_the_name_of_a_column_that_evaluation_makes(name: str) -> None:
    """The table of scores would have two columns of that name, after all training is done."""
    with pytest.raises(InputError, match=f"has '{name}': evaluation has a column of that name"):
        ScorersDataset(scorers={name: REWARD})


@pytest.mark.parametrize("name", ["", "a b", "2x", "a/b", "=sum", "é"])
def test_the_name_of_a_scorer_can_be_that_of_a_column_and_of_a_metric(name: str) -> None:
    with pytest.raises(InputError, match="use letters, digits and underscores"):
        ScorersDataset(scorers={name: REWARD})


@pytest.mark.parametrize("scorers", [None, [], "image_reward", {"mine": None}])
def test_scorers_are_given_by_name(scorers: Any) -> None:
    with pytest.raises(InputError, match=r"conf/\*/catalog\*\.yml: scorers\.scorers"):
        ScorersDataset(scorers=scorers)


def test_a_scorer_can_have_the_name_of_one_of_kedros_fields() -> None:
    specified = ScorersDataset(scorers={"metadata": {"kind": "image_reward", "path": "/r"}}).load()
    assert specified["metadata"].path == "/r"
