"""The names of nodes: one namespace for each experiment, and one inside it for each method.

A node of `color.dpok` reads and writes `color.dpok.…`, its experiment's `color.…`, and what all
experiments share, such as `prompts` and `base_model`. Every pipeline writes out the names of its
datasets, so that a search for `.lora` finds the readers and the one writer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node

#: Tag of the nodes that compare all methods, whichever of them are computed anew.
COMPARISON = "comparison"
#: Tag of the nodes that several workers can share: those that train, or draw images in shards.
SHAREABLE = "shareable"
#: What `kedro claims` saves of all training seeds, by the catalog's entries of an experiment.
OVER_SEEDS = ("all_seeds.comparison", "all_seeds.claims", "all_seeds.report")


def method_tag(method: str) -> str:
    """Name the tag that `kedro run --methods` chooses nodes by."""
    return f"method.{method}"


def method_node(
    func: Callable[..., Any],
    experiment: str,
    method: str,
    inputs: dict[str, str],
    outputs: str | list[str],
    *,
    shareable: bool = False,
) -> Node:
    """Make a node of one method in one experiment, with its task among its inputs.

    Args:
        func: The node's function, which has a parameter `task`.
        experiment: Name of the experiment.
        method: Name of the method, or `base` for the base model.
        inputs: Names of the datasets by the function's parameters, but for the task.
        outputs: Names of the datasets that the node writes.
        shareable: Whether several workers can share the node.
    """
    namespace = f"{experiment}.{method}"
    return Node(
        func=func,
        inputs={**inputs, "task": f"params:{namespace}.task"},
        outputs=outputs,
        name=f"{func.__name__}_node",
        namespace=namespace,
        tags=[method_tag(method), *([SHAREABLE] if shareable else [])],
    )


def report_parts(experiment: str) -> str:
    """Name the dataset that an experiment contributes to joint reports.

    The name has no dot: Kedro warns of a node that reads a dataset of another namespace, and the
    joint nodes are outside of all namespaces.
    """
    return f"{experiment}_report_parts"


def study_sets(experiment: str) -> str:
    """Name the dataset that an experiment contributes to the human study; no dot in it, either."""
    return f"{experiment}_study_sets"
