"""The experiments: each a set of training prompts with its own fine-tuned models."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kedro.pipeline import Node, Pipeline

# The paper's four questions. Kedro builds its graph before it reads any data, so they are named
# here; the prompts of each are in the prompt sources of the catalog.
EXPERIMENTS = ("color", "composition", "count", "location")

# What all experiments have in common. Everything else in a template gets the experiment's name.
SHARED_INPUTS = ("prompts", "base_model", "reward_model", "scorers", "embedder")


def for_each_experiment(
    template: Callable[[], Iterable[Node]], shared: set[str], handed_on: Iterable[str] = ()
) -> Pipeline:
    """Instantiate one template once per experiment, as a namespace each.

    Args:
        template: Makes the nodes, with names that carry no experiment.
        shared: The parameters (`params:…`) that all experiments read from the same place.
        handed_on: Outputs that a node outside the namespaces reads. They are called
            `color_NAME` and not `color.NAME`: Kedro keeps the dot for a namespace's own.

    Returns:
        The sum of the namespaced pipelines.
    """
    instances = (
        Pipeline(
            template(),
            namespace=experiment,
            inputs=_shared_inputs(template),
            outputs={name: f"{experiment}_{name}" for name in handed_on},
            parameters=shared,
        )
        for experiment in EXPERIMENTS
    )
    return sum(instances, start=Pipeline([]))


def _shared_inputs(template: Callable[[], Iterable[Node]]) -> set[str]:
    return Pipeline(template()).inputs() & set(SHARED_INPUTS)
