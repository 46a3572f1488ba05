"""The experiments: each a set of training prompts with its own fine-tuned models."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kedro.pipeline import Node, Pipeline

# The paper's four questions. Kedro builds its graph before it reads any data, so they are named
# here; the prompts of each are in the prompt sources of the catalog.
EXPERIMENTS = ("color", "composition", "count", "location")

# What all experiments have in common. Everything else in a template gets the experiment's name.
SHARED_INPUTS = ("prompts", "base_model", "reward_model", "scorers", "embedder")


def for_each_experiment(template: Callable[[], Iterable[Node]], shared: set[str]) -> Pipeline:
    """Instantiate one template once per experiment, as a namespace each.

    Args:
        template: Makes the nodes, with names that carry no experiment.
        shared: The parameters (`params:…`) that all experiments read from the same place.

    Returns:
        The sum of the namespaced pipelines.
    """
    return sum(
        (_instance(Pipeline(template()), experiment, shared) for experiment in EXPERIMENTS),
        start=Pipeline([]),
    )


def _instance(template: Pipeline, experiment: str, shared: set[str]) -> Pipeline:
    return Pipeline(
        template,
        namespace=experiment,
        inputs={name for name in SHARED_INPUTS if name in template.inputs()},
        parameters=shared,
    )
