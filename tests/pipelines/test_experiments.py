from __future__ import annotations

import pandas as pd
import pytest
from kedro.pipeline import Node

from dpok_pipeline.configuration.experiments import EXPERIMENTS, for_each_experiment
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import ComputeConfig, scorer_identity, select_prompts
from dpok_pipeline.rewards.load import ScorerConfig


def measure(prompts, experiment, config):
    """Stands for any node."""


def template() -> list[Node]:
    return [
        Node(
            measure,
            ["prompts", "params:experiment", "params:config"],
            ["scores", "parts"],
            name="measure_node",
        )
    ]


def test_each_experiment_gets_its_own_names_and_shares_the_rest() -> None:
    made = for_each_experiment(template, {"params:config"}, handed_on=["parts"])
    color = next(node for node in made.nodes if node.namespace == "color")
    assert len(made.nodes) == len(EXPERIMENTS)
    assert color.name == "color.measure_node"
    assert color.inputs == ["prompts", "params:color.experiment", "params:config"]
    assert color.outputs == ["color.scores", "color_parts"]


@pytest.fixture
def prompts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["a cat", "a dog", "a cup"],
            "experiment": ["color", "color", "count"],
            "split": ["train", "unseen", "unseen"],
        }
    )


def test_prompts_are_chosen_by_experiment_and_split(prompts: pd.DataFrame) -> None:
    assert list(select_prompts(prompts, "color", "train")["text"]) == ["a cat"]
    assert list(select_prompts(prompts, "color", None)["text"]) == ["a cat", "a dog"]


@pytest.mark.parametrize(("experiment", "split"), [("location", None), ("count", "train")])
def test_an_experiment_without_prompts_is_named_with_those_present(
    prompts: pd.DataFrame, experiment: str, split: str | None
) -> None:
    with pytest.raises(InputError, match=f"experiment {experiment} has no .*present: color, count"):
        select_prompts(prompts, experiment, split)


def test_a_scorers_identity_is_its_specification_and_its_files(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    spec = ScorerConfig(kind="image_reward", path=tmp_path.as_posix())
    before = scorer_identity(spec)
    assert scorer_identity(spec) == before
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert scorer_identity(spec) != before
    assert scorer_identity(ScorerConfig(kind="mine.reward")) != before


def test_auto_takes_a_device_that_is_there() -> None:
    assert ComputeConfig(device="cpu").torch_device() == "cpu"
    assert ComputeConfig().torch_device() in ("cpu", "cuda")
