"""The project's pipelines, and the sum of those that `kedro run` runs."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from dpok_pipeline.configuration import selection

# `world_building` makes the networks that the others start from, and runs by name only.
DEFAULT_PIPELINES = (
    "prompt_preparation",
    "sample_generation",
    "sft_training",
    "rl_training",
    "evaluation",
)


def register_pipelines() -> dict[str, Pipeline]:
    """Find every pipeline; one that cannot be imported stops the command.

    Kedro imports only the pipelines that the command line names. For `__default__` it imports
    all of them, so that the sum below is whole whenever it is used.
    """
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    names = [name for name in DEFAULT_PIPELINES if name in pipelines]
    if not selection.current().offline:
        # No method would learn from the samples.
        names = [name for name in names if name != "sample_generation"]
    default = (pipelines[name] for name in names)
    pipelines["__default__"] = sum(default, start=Pipeline([]))
    return pipelines
