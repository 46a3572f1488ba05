from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.diffusion.config import SamplingConfig

COMMON = {"lora", "config", "work_dir", "tracker", "identity", "resume", "sampling"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_trains_by_the_same_arguments(name: str) -> None:
    algorithm = ALGORITHMS[name]
    parameters = inspect.signature(algorithm.trainer()).parameters.values()
    named = {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    placed = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if algorithm.online:
        assert placed == ["model", "prompts", "reward"]
        assert named == COMMON | {"measures"}
    else:
        assert placed == ["model", "samples"]
        assert named == COMMON


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_draws_one_step_with_the_settings_it_is_given(name: str) -> None:
    algorithm = ALGORITHMS[name]
    length = "iterations" if algorithm.online else "updates"
    picture = algorithm.diagram(algorithm.config(**{length: 1234, "learning_rate": 0.0375}))
    assert picture.startswith("flowchart TD\n")
    assert ", 1234 in all" in picture
    assert "AdamW step of 0.0375" in picture
    assert "$" not in picture
    assert ("next iteration" in picture) == algorithm.online


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_configuration_can_be_checked_and_compared(name: str) -> None:
    form = ALGORITHMS[name].config
    length = "iterations" if ALGORITHMS[name].online else "updates"
    values = form(**{length: 7, "checkpoint_every": 1})
    values.check(SamplingConfig(ddim_steps=3, guidance_scale=1), prompts=1)
    longer = form(**{length: 8, "checkpoint_every": 2, "stop_after_skipped": 3})
    assert values.numbers() != longer.numbers()
    assert values.numbers(length=False) == longer.numbers(length=False)
    assert values.numbers(length=False) != form(**{length: 7, "seed": 1}).numbers(length=False)
    assert all(field.description for field in form.model_fields.values())


def test_the_catalogue_is_read_without_heavy_libraries() -> None:
    code = (
        "import sys, dpok_pipeline.algorithms.catalogue\n"
        "assert not {'torch', 'diffusers', 'pandas', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
