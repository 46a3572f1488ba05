"""What two runs are compared by."""

from __future__ import annotations

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.run_identity import describe_run, differences
from dpok_pipeline.training.config import SFTConfig


def _identity(**changed: object) -> dict[str, str]:
    catalog = DataCatalog({"params:sft_training": MemoryDataset(SFTConfig(updates=3, **changed))})
    node = Node(lambda config: config, "params:sft_training", "made", name="train")
    return describe_run(Pipeline([node]), catalog)


@pytest.mark.parametrize("changed", [{"checkpoint_minutes": 9.0}, {"log_every": 3}])
def test_what_changes_no_number_is_not_compared(changed: dict[str, object]) -> None:
    assert _identity(**changed) == _identity()


def test_what_changes_numbers_is_named() -> None:
    found = list(differences(_identity(), _identity(learning_rate=0.5)))
    assert len(found) == 1
    assert found[0].startswith("sft_training.learning_rate was ")
