"""What a catalog entry may import: a reward of the user's own, and says so; nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpok_pipeline.datasets.models import ScorerDataset, ScorersDataset
from dpok_pipeline.datasets.networks import NetworkDataset
from dpok_pipeline.errors import InputError

OWN = "tests.project.BrightJudge"


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (ScorerDataset(kind=OWN), "reward_model"),
        (ScorersDataset(scorers={"bright": {"kind": OWN}}), "bright"),
    ],
)
def test_a_reward_of_ones_own_is_imported_and_named(
    dataset: ScorerDataset | ScorersDataset, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="dpok_pipeline"):
        dataset.check()
    assert caplog.messages == [f"{name}: code of your own is imported and run, {OWN}"]


@pytest.mark.parametrize("network", ["tests.project.BrightJudge", "os.system", "BrightJudge"])
def test_a_network_of_another_package_is_not_imported(tmp_path: Path, network: str) -> None:
    dataset = NetworkDataset(filepath=str(tmp_path), network=network)
    with pytest.raises(Exception, match="only diffusers and dpok_pipeline") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__ or caught.value, InputError)
