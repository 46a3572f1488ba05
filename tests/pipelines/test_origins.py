"""What an earlier command has made, against what the configuration would make now."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset

from dpok_pipeline.configuration import selection
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.pipelines.origins import _check_training
from dpok_pipeline.rewards.load import ScorerConfig

BASE_MODEL = "b" * 64
TEXTS = ["a cat", "a dog"]
PROMPTS = pd.DataFrame(
    [[text, text, "color", "train"] for text in TEXTS],
    columns=["prompt_id", "text", "experiment", "split"],
)
REWARD = ScorerConfig(kind="tests.project.BrightJudge")
SAMPLING = {"ddim_steps": 8, "eta": 1.0, "guidance_scale": 3.0}
GENERATION = {"seed": 0, "images": 16, "shard_size": 256}


def configured(**changes: Any) -> DataCatalog:
    """The catalog by which the LoRA below was trained, or one with other entries."""
    entries = {
        "base_model": SimpleNamespace(content_hash=BASE_MODEL),
        "reward_model": REWARD,
        "params:sampling": SAMPLING,
        "params:sample_generation": GENERATION,
        "params:compute": {"precision": "float32"},
        **changes,
    }
    return DataCatalog({name: MemoryDataset(entry) for name, entry in entries.items()})


def trained() -> dict[str, Any]:
    """What SFT's LoRA says of itself."""
    (method,) = selection.current().offline
    return {
        **method.training.numbers(),
        "algorithm": "sft",
        "sft_training": method.training.numbers(length=False),
        "lora": method.lora.numbers(),
        "base_model": BASE_MODEL,
        "compute": {"precision": "float32"},
        "prompts": TEXTS,
        "samples": {
            "sample_generation": GENERATION,
            "sampling": SAMPLING,
            "base_model": BASE_MODEL,
            "compute": {"precision": "float32"},
            "reward_model": scorer_identity(REWARD),
        },
    }


def check(before: dict[str, Any], catalog: DataCatalog) -> None:
    _check_training("color.sft.lora", before, catalog, PROMPTS, registered="")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "params:sample_generation",
            {**GENERATION, "images": 2000},
            "sample_generation.images was 16 and is 2000",
        ),
        ("params:sampling", {**SAMPLING, "eta": 0.5}, "sampling.eta was 1.0 and is 0.5"),
        (
            "reward_model",
            ScorerConfig(kind="tests.project.NotANumber"),
            'reward_model.kind was "tests.project.BrightJudge" and is "tests.project.NotANumber"',
        ),
    ],
)
def test_an_offline_lora_that_has_learned_from_other_samples_is_refused(
    name: str, value: Any, says: str
) -> None:
    check(trained(), configured())
    with pytest.raises(InputError) as caught:
        check(trained(), configured(**{name: value}))
    said = str(caught.value)
    assert said.startswith(f"color.sft.lora: made with other inputs: samples.{says}; put the old ")
    assert "`kedro run --pipelines sample_generation,sft_training --namespaces color`" in said
    assert "\n" not in said


def test_an_offline_lora_of_an_earlier_release_is_compared_by_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = {name: part for name, part in trained().items() if name != "samples"}
    other = configured(**{"params:sample_generation": {**GENERATION, "images": 2000}})
    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        check(before, other)
    assert "color.sft.lora: of an earlier release" in caplog.text
    with pytest.raises(InputError, match=r"lora: made with other inputs: lora\.rank was 99"):
        check({**before, "lora": {"rank": 99}}, other)
