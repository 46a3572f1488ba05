"""What two runs are compared by."""

from __future__ import annotations

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.runs.identity import describe_run, differences
from dpok_pipeline.training.config import SFTConfig


def _identity(**changed: object) -> dict[str, str]:
    return _describe("sft_training", SFTConfig(updates=3, **changed))


def _of(group: str, **values: object) -> dict[str, str]:
    name, _, network = group.partition(".")
    return _describe(name, {network: values} if network else values)


def _describe(name: str, parameters: object) -> dict[str, str]:
    catalog = DataCatalog({f"params:{name}": MemoryDataset(parameters)})
    node = Node(lambda config: config, f"params:{name}", "made", name="train")
    return describe_run(Pipeline([node]), catalog)


@pytest.mark.parametrize("changed", [{"checkpoint_minutes": 9.0}, {"log_every": 3}])
def test_what_changes_no_number_is_not_compared(changed: dict[str, object]) -> None:
    assert _identity(**changed) == _identity()


@pytest.mark.parametrize(
    ("group", "compared"),
    [("sample_generation", False), ("evaluation", False), ("world.unet", True)],
)
def test_a_batch_size_is_compared_where_it_changes_numbers(group: str, compared: bool) -> None:
    assert (_of(group, batch_size=1) != _of(group, batch_size=2)) == compared
    assert _of(group, seed=1) != _of(group, seed=2)


def test_what_changes_numbers_is_named() -> None:
    found = list(differences(_identity(), _identity(learning_rate=0.5)))
    assert len(found) == 1
    assert found[0].startswith("sft_training.learning_rate was ")
