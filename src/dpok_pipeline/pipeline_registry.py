"""Which pipelines there are, and which of them `kedro run` runs."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

# `world_building` makes the world that the others start from: it runs by name only.
DEFAULT_PIPELINES = (
    "prompt_preparation",
    "sample_generation",
    "sft_training",
    "rl_training",
    "evaluation",
)


def register_pipelines() -> dict[str, Pipeline]:
    """Find every pipeline; a pipeline that cannot be imported stops the command.

    Kedro imports only the folders named on the command line, so the sum below holds those
    that were asked for; `__default__` itself always loads all.
    """
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    chosen = (pipelines[name] for name in DEFAULT_PIPELINES if name in pipelines)
    pipelines["__default__"] = sum(chosen, start=Pipeline([]))
    return pipelines
