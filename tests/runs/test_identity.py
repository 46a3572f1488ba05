"""What two runs are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.emoji_world.building.config import TrainingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.files.fingerprint import changes
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.runs import code
from dpok_pipeline.runs.code import hash_code
from dpok_pipeline.runs.identity import code_in_memory, describe_run, unchanged_code
from dpok_pipeline.training.config import GenerationConfig


def describe(**groups: object) -> dict[str, str]:
    named = {f"params:{name}": group for name, group in groups.items()}
    catalog = DataCatalog({name: MemoryDataset(group) for name, group in named.items()})
    node = Node(lambda *arguments: 1, list(named), "made", name="train")
    return describe_run(Pipeline([node]), catalog)


@pytest.mark.parametrize("changed", [{"checkpoint_minutes": 9.0}, {"log_every": 3}])
def test_what_changes_no_number_is_not_compared(changed: dict[str, object]) -> None:
    plain = describe(sft_training=SFTConfig(updates=3))
    assert describe(sft_training=SFTConfig(updates=3, **changed)) == plain


def test_of_tasks_their_experiments_are_compared() -> None:
    """A comparison over all of them is another one when there is one more."""
    color, count = Task(experiment="color", resume="never"), Task(experiment="count")
    assert describe(one=color) == {"experiments": "color"}
    assert describe(one=color, other=count) == {"experiments": "color, count"}


def test_how_long_a_run_is_belongs_to_it() -> None:
    assert describe(group=SFTConfig(updates=3)) != describe(group=SFTConfig(updates=4))


def test_a_batch_size_is_compared_where_it_changes_numbers() -> None:
    def generation(size: int) -> dict[str, str]:
        return describe(group=GenerationConfig(images=8, batch_size=size))

    def evaluation(size: int) -> dict[str, str]:
        config = {"images_per_prompt": 8, "seed": 0, "replicates": 100, "batch_size": size}
        return describe(group=EvaluationConfig(**config))

    def network(size: int) -> dict[str, str]:
        config = {"steps": 1, "learning_rate": 0.1, "seed": 0, "batch_size": size}
        return describe(group=TrainingConfig(**config))

    assert generation(1) == generation(2)
    assert evaluation(1) == evaluation(2)
    assert network(2) != network(4)


def test_what_changes_numbers_is_named() -> None:
    before = describe(sft_training=SFTConfig(updates=3))
    now = describe(sft_training=SFTConfig(updates=3, learning_rate=0.5))
    (difference,) = changes(before, now)
    assert difference.startswith("sft_training.learning_rate was ")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sources of a package, as a process finds them that has just begun."""
    for name in ("training", "hooks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module.py").write_text("RATE = 1\n")
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    code_in_memory.cache_clear()
    yield tmp_path
    code_in_memory.cache_clear()


def test_code_that_changed_after_the_process_had_begun_is_refused(package: Path) -> None:
    before = unchanged_code()
    (package / "hooks" / "module.py").write_text("RATE = 22\n")
    assert unchanged_code() == before
    (package / "training" / "module.py").write_text("RATE = 22\n")
    assert hash_code() != code_in_memory() == before
    with pytest.raises(InputError, match="code has changed since this command began") as error:
        unchanged_code()
    assert "\n" not in str(error.value)
    (package / "training" / "module.py").write_text("RATE = 1\n")
    assert unchanged_code() == before
