"""The names of commands' runs."""

from __future__ import annotations

from typing import Any

import pytest
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.tracking.run_names import name_run

ALL = ("color", "composition", "count", "location")


def pipeline(*experiments: str) -> Pipeline:
    return Pipeline(
        [
            Node(print, "prompts", None, name=f"draw_{name}", namespace=f"{name}.dpok")
            for name in experiments
        ]
    )


@pytest.mark.parametrize(
    ("experiments", "options", "name"),
    [
        (ALL, {}, "base, all experiments, seed 0"),
        (ALL, {"pipeline_names": ["__default__"]}, "base, all experiments, seed 0"),
        (ALL, {"env": "smoke"}, "smoke, all experiments, seed 0"),
        (("color",), {}, "base, color, seed 0"),
        (("count", "color"), {}, "base, color+count, seed 0"),
        (ALL[:3], {}, "base, 3 experiments, seed 0"),
        ((), {"pipeline_names": ["prompt_preparation"]}, "base, prompt_preparation, seed 0"),
        (
            ("color",),
            {
                "pipeline_names": ["rl_training"],
                "tags": ("method.dpok", "comparison"),
                "runtime_params": {"training_seed": 3},
            },
            "base, color, rl_training, dpok, seed 3",
        ),
        (ALL, {"from_nodes": ["x"]}, "base, all experiments, some nodes, seed 0"),
    ],
)
def test_a_run_is_named_by_what_ran(
    experiments: tuple[str, ...], options: dict[str, Any], name: str
) -> None:
    assert name_run({"env": None, "pipeline_names": [], **options}, pipeline(*experiments)) == name


def test_seeds_that_methods_have_of_their_own_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameters file may set them without a word on the command line."""

    def with_seeds(*seeds: int) -> str:
        methods = [
            method.model_copy(
                update={"training": method.training.model_copy(update={"seed": seed})}
            )
            for method, seed in zip(selection.current().methods, seeds, strict=True)
        ]
        chosen = selection.Selection(experiments=("color",), methods=tuple(methods))
        with monkeypatch.context() as patch:
            patch.setattr(selection, "_current", chosen)
            return name_run({"env": None}, pipeline("color"))

    assert with_seeds(7, 7) == "base, color, seed 7"
    assert with_seeds(0, 7) == "base, color, seed 0+7"


def test_the_only_experiment_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_current", selection.Selection(experiments=("custom",)))
    assert name_run({"env": "custom"}, pipeline("custom")) == "custom, seed 0"
