"""Draw images with the LoRAs, score them, compare the methods and report on them.

LoRAs ──► images ──► scores ──► comparison ──► figures and report
             └──► study page and key ──► votes ──► joint report

Images and scores belong to one method, so that a further method costs no other anything; those of
the base model are made once. Comparison and reports belong to one experiment. The last nodes
compare and report on all experiments that have been evaluated, and make the human study of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.pipelines.evaluation.nodes import (
    compare_methods,
    draw_base_images,
    draw_method_images,
    score_images,
)
from dpok_pipeline.pipelines.evaluation.reporting import (
    compare_experiments,
    describe_making,
    draw_contact_sheets,
    draw_figures,
    gather_report_parts,
    write_joint_report,
    write_report,
)
from dpok_pipeline.pipelines.evaluation.study import (
    choose_study_sets,
    count_votes,
    make_study_page,
)
from dpok_pipeline.pipelines.graph import (
    COMPARISON,
    TRACED,
    experiment_tag,
    method_node,
    picture_of_pipeline,
    pictured_node,
    report_parts,
    study_sets,
)

BASE = BASE_LABEL.name
#: The functions of nodes whose pages say where each number comes from.
REPORTS = (write_report, write_joint_report)


def create_pipeline() -> Pipeline:
    """Create the pipeline for the experiments and methods of the environment in use."""
    compared = selection.current()
    methods = [method.name for method in compared.methods]
    nodes = []
    for experiment in compared.experiments:
        nodes += [drawing(experiment, method) for method in (BASE, *methods)]
        nodes += [scoring(experiment, method) for method in (BASE, *methods)]
        nodes += reporting(experiment, methods)
    return Pipeline([*nodes, *joint(compared.experiments)])


def drawing(experiment: str, method: str) -> Node:
    """Make the node that draws a method's images, or the base model's."""
    inputs = {
        "prompts": "prompts",
        "base_model": "base_model",
        "sampling": "params:sampling",
        "config": "params:evaluation",
        "compute": "params:compute",
    }
    outputs = f"{experiment}.{method}.images"
    func: Callable[..., Any]
    if method == BASE:
        func = draw_base_images
    else:
        func, inputs["lora"] = draw_method_images, f"{experiment}.{method}.lora"
    picture = picture_of_pipeline("evaluation", "drawing")
    return method_node(func, experiment, method, inputs, outputs, picture, shareable=True)


def scoring(experiment: str, method: str) -> Node:
    """Make the node that scores and embeds a method's images, or the base model's."""
    return method_node(
        score_images,
        experiment,
        method,
        inputs={
            "images": f"{experiment}.{method}.images",
            "scorers": "scorers",
            "embedder": "embedder",
            "config": "params:evaluation",
            "compute": "params:compute",
        },
        outputs=[f"{experiment}.{method}.scores", f"{experiment}.{method}.embeddings"],
    )


def reporting(experiment: str, methods: Sequence[str]) -> list[Node]:
    """Make the nodes that compare and show one experiment's methods."""
    node = partial(_node, experiment=experiment)

    def of_experiment(*names: str) -> list[str]:
        return [f"{experiment}.{name}" for name in names]

    def of_methods(name: str) -> list[str]:
        return [f"{experiment}.{method}.{name}" for method in methods]

    def of_all(name: str) -> list[str]:
        return [f"{experiment}.{BASE}.{name}", *of_methods(name)]

    settings, task, parts = (
        "params:comparison",
        f"params:{experiment}.task",
        report_parts(experiment),
    )
    images, scores, embeddings = of_all("images"), of_all("scores"), of_all("embeddings")
    evaluated = [*images, *scores, *embeddings]
    made_by = ["params:sampling", "params:sample_generation", "params:evaluation"]
    curves, filmstrips = of_methods("curves"), of_methods("filmstrip")
    comparison, claims, provenance = of_experiment("comparison", "claims", "provenance")
    sheets = of_experiment("train_sheet", "unseen_sheet")
    return [
        node(
            compare_methods,
            ["params:evaluation", settings, task, *scores, *embeddings],
            [comparison, claims],
            picture=picture_of_pipeline("evaluation", "comparing"),
        ),
        node(
            draw_figures,
            [comparison, settings, *curves],
            of_experiment("reward_bars", "learning_curves", "reward_against_kl"),
        ),
        node(draw_contact_sheets, [settings, *images, *scores], sheets),
        node(
            describe_making,
            [*made_by, comparison, *images],
            [provenance],
        ),
        node(
            gather_report_parts,
            [settings, task, comparison, provenance, *evaluated, *curves, *filmstrips],
            [parts],
        ),
        node(write_report, [comparison, claims, settings, task, parts], of_experiment("report")),
        node(choose_study_sets, ["params:study", settings, *images], [study_sets(experiment)]),
    ]


def joint(experiments: Sequence[str]) -> list[Node]:
    """Make the nodes over all experiments."""
    parts = [report_parts(experiment) for experiment in experiments]
    return [
        _node(
            compare_experiments,
            ["params:evaluation", "params:comparison", "params:all.task", *parts],
            ["comparison", "claims"],
            picture=picture_of_pipeline("evaluation", "comparing"),
        ),
        _node(
            make_study_page,
            ["params:study", *map(study_sets, experiments)],
            ["study_page", "study_key"],
        ),
        _node(
            count_votes,
            [
                "params:study",
                "params:evaluation",
                "params:comparison",
                "study_key",
                "votes",
                *parts,
            ],
            ["study_results", "study_figure"],
        ),
        _node(
            write_joint_report,
            [
                "comparison",
                "claims",
                "params:comparison",
                "params:all.task",
                "study_results",
                *parts,
            ],
            ["report"],
        ),
    ]


def _node(
    func: Callable[..., Any],
    inputs: list[str],
    outputs: list[str],
    *,
    experiment: str | None = None,
    picture: Callable[[], str] | None = None,
) -> Node:
    fields = {
        "func": func,
        "inputs": inputs,
        "outputs": outputs if len(outputs) > 1 else outputs[0],
        "name": f"{func.__name__}_node",
        "namespace": experiment,
        "tags": [
            COMPARISON,
            *([experiment_tag(experiment)] if experiment else []),
            *([TRACED] if func in REPORTS else []),
        ],
    }
    return Node(**fields) if picture is None else pictured_node(picture, **fields)
