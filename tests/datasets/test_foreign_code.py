"""What a catalog entry may import: a reward of the user's own, and says so; nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpok_pipeline.datasets.models import ScorerDataset, ScorersDataset
from dpok_pipeline.datasets.networks import NetworkDataset
from dpok_pipeline.errors import InputError
from tests.opened import opening

OWN = "tests.project.BrightJudge"
PARTS = {"bright": {"weight": 1.0, "kind": OWN}}
NESTED = {"sum": {"weight": 1.0, "kind": "weighted_sum", "parts": PARTS}}


@pytest.mark.parametrize(
    ("datasets", "name"),
    [
        ({"reward_model": ScorerDataset(kind=OWN)}, "reward_model"),
        ({"scorers": ScorersDataset(scorers={"bright": {"kind": OWN}})}, "bright"),
        ({"reward_model": ScorerDataset(kind="weighted_sum", parts=PARTS)}, "reward_model"),
        ({"reward_model": ScorerDataset(kind="weighted_sum", parts=NESTED)}, "reward_model"),
    ],
)
def test_a_reward_of_ones_own_is_imported_and_named(
    datasets: dict[str, ScorerDataset | ScorersDataset],
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="dpok_pipeline"):
        opening(**datasets)()
    assert caplog.messages == [f"{name}: code of your own is imported and run, {OWN}"]


@pytest.mark.parametrize("network", ["tests.project.BrightJudge", "os.system", "BrightJudge"])
def test_a_network_of_another_package_is_not_imported(tmp_path: Path, network: str) -> None:
    dataset = NetworkDataset(filepath=str(tmp_path), network=network)
    with pytest.raises(Exception, match="only diffusers and dpok_pipeline") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__ or caught.value, InputError)
