"""The names of nodes: one namespace for each experiment, and one inside it for each method.

A node of `color.dpok` reads and writes `color.dpok.…`, its experiment's `color.…`, and what all
experiments share, such as `prompts` and `base_model`. Every pipeline writes out the names of its
datasets, so that a search for `.lora` finds the readers and the one writer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

from kedro.pipeline import Node
from kedro.pipeline.preview_contract import MermaidPreview
from kedro.utils import KedroExperimentalWarning

from dpok_pipeline.configuration import selection

#: Tag of the nodes that compare all methods, whichever of them are computed anew.
COMPARISON = "comparison"
#: Tag of the nodes that several workers can share: those that train, or draw images in shards.
SHAREABLE = "shareable"
#: Tag of the nodes whose task says where what they read comes from.
TRACED = "traced"
#: How pictures are drawn: as large as they are if there is room, and no line broken but by `<br/>`,
#: because kedro-viz changes the letters after Mermaid has measured them.
DRAWN: Any = {
    "flowchart": {"useMaxWidth": False, "wrappingWidth": 480},
    "textStyle": {"whiteSpace": "nowrap", "fontSize": "13px"},
}
#: What `kedro claims` saves of all training seeds, by the catalog's entries of an experiment.
OVER_SEEDS = ("all_seeds.comparison", "all_seeds.claims", "all_seeds.report")


def method_tag(method: str) -> str:
    """Name the tag that `kedro run --methods` chooses nodes by."""
    return f"method.{method}"


def experiment_tag(experiment: str) -> str:
    """Name the tag by which kedro-viz shows one experiment's nodes alone."""
    return f"experiment.{experiment}"


def pictured_node(picture: Callable[[], str], **fields: Any) -> Node:
    """Make a node that kedro-viz shows with a picture.

    Args:
        picture: Returns the picture in Mermaid; called when somebody looks at the node, and
            picklable, because nodes are sent to workers.
        fields: All other arguments of `Node`.
    """
    with warnings.catch_warnings():
        # Kedro warns of each preview that it may change; no user can do anything about it.
        warnings.simplefilter("ignore", KedroExperimentalWarning)
        return Node(**fields, preview_fn=partial(_mermaid, picture))


def picture_of_pipeline(pipeline: str, name: str) -> Callable[[], str]:
    """Return what reads a picture that lies in a pipeline's folder."""
    return partial(_read, f"dpok_pipeline.pipelines.{pipeline}", f"{name}.mmd")


def picture_of_training(method: str) -> Callable[[], str]:
    """Return what draws one step of a method's algorithm, with the settings that it has then."""
    return partial(_draw_training, method)


def _mermaid(picture: Callable[[], str]) -> MermaidPreview:
    return MermaidPreview(content=picture(), meta=DRAWN)


def _read(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")


def _draw_training(name: str) -> str:
    method = next(method for method in selection.current().methods if method.name == name)
    return method.entry.diagram(method.training)


def method_node(
    func: Callable[..., Any],
    experiment: str,
    method: str,
    inputs: dict[str, str],
    outputs: str | list[str],
    picture: Callable[[], str] | None = None,
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
        picture: Returns the picture that kedro-viz shows of the node; None if it has none.
        shareable: Whether several workers can share the node.
    """
    namespace = f"{experiment}.{method}"
    tags = [experiment_tag(experiment), method_tag(method), *([SHAREABLE] if shareable else [])]
    fields = {
        "func": func,
        "inputs": {**inputs, "task": f"params:{namespace}.task"},
        "outputs": outputs,
        "name": f"{func.__name__}_node",
        "namespace": namespace,
        "tags": tags,
    }
    return Node(**fields) if picture is None else pictured_node(picture, **fields)


def report_parts(experiment: str) -> str:
    """Name the dataset that an experiment contributes to joint reports.

    The name has no dot: Kedro warns of a node that reads a dataset of another namespace, and the
    joint nodes are outside of all namespaces.
    """
    return f"{experiment}_report_parts"


def study_sets(experiment: str) -> str:
    """Name the dataset that an experiment contributes to the human study; no dot in it, either."""
    return f"{experiment}_study_sets"
