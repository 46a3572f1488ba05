"""LoRAs ──► images ──► scores ──► comparison ──► figures and report.

Once per experiment; at the end one report over all experiments that have been evaluated.
"""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration.experiments import experiments, for_each_experiment
from dpok_pipeline.pipelines.evaluation.nodes import (
    compare_models,
    draw_evaluation_images,
    score_evaluation_images,
)
from dpok_pipeline.pipelines.evaluation.reporting import (
    compare_experiments,
    describe_making,
    draw_contact_sheets,
    draw_figures,
    gather_report_parts,
    write_report,
)

# What describe_making writes down of how an experiment was made.
RECORDED = {
    "sampling": "params:sampling",
    "lora": "params:lora",
    "generation": "params:sample_generation",
    "sft": "params:sft_training",
    "rl": "params:rl_training",
    "evaluation": "params:evaluation",
}


def template() -> list[Node]:
    """Make the nodes of one experiment."""
    return [*measuring(), *reporting()]


def measuring() -> list[Node]:
    """Make the nodes that draw, score and compare one experiment's images."""
    return [
        Node(
            func=draw_evaluation_images,
            inputs={
                "prompts": "prompts",
                "base_model": "base_model",
                "sft_lora": "sft_lora",
                "rl_lora": "rl_lora",
                "sampling": "params:sampling",
                "config": "params:evaluation",
                "compute": "params:compute",
                "experiment": "params:experiment",
            },
            outputs="evaluation_images",
            name="draw_evaluation_images_node",
        ),
        Node(
            func=score_evaluation_images,
            inputs={
                "images": "evaluation_images",
                "scorers": "scorers",
                "embedder": "embedder",
                "config": "params:evaluation",
                "compute": "params:compute",
            },
            outputs=["scores", "embeddings"],
            name="score_evaluation_images_node",
        ),
        Node(
            func=compare_models,
            inputs=["scores", "embeddings", "params:evaluation", "evaluation_tracker"],
            outputs=["comparison", "claims"],
            name="compare_models_node",
        ),
    ]


def reporting() -> list[Node]:
    """Make the nodes that show one experiment."""
    return [
        Node(
            func=draw_figures,
            inputs=["comparison", "rl_curves", "sft_curves"],
            outputs=["reward_bars", "learning_curves", "reward_against_kl"],
            name="draw_figures_node",
        ),
        Node(
            func=draw_contact_sheets,
            inputs=["evaluation_images", "scores"],
            outputs=["train_sheet", "unseen_sheet"],
            name="draw_contact_sheets_node",
        ),
        Node(
            func=describe_making,
            inputs={**RECORDED, "images": "evaluation_images"},
            outputs="provenance",
            name="describe_making_node",
        ),
        Node(
            func=gather_report_parts,
            inputs=[
                "params:experiment",
                "scores",
                "embeddings",
                "rl_curves",
                "sft_curves",
                "train_sheet",
                "unseen_sheet",
                "provenance",
            ],
            outputs="report_parts",
            name="gather_report_parts_node",
        ),
        Node(
            func=write_report,
            inputs=["comparison", "claims", "report_parts"],
            outputs="report",
            name="write_report_node",
        ),
    ]


def joint() -> list[Node]:
    """Make the nodes over all experiments."""
    parts = [f"{experiment}_report_parts" for experiment in experiments()]
    return [
        Node(
            func=compare_experiments,
            inputs=["params:evaluation", "joint_tracker", *parts],
            outputs=["comparison", "claims"],
            name="compare_experiments_node",
        ),
        Node(
            func=write_report,
            inputs=["comparison", "claims", *parts],
            outputs="report",
            name="write_joint_report_node",
        ),
    ]


def create_pipeline() -> Pipeline:
    """Make the pipeline: the templates once per experiment, and the joint report."""
    shared = {*RECORDED.values(), "params:compute"}
    per_experiment = for_each_experiment(template, shared, handed_on=["report_parts"])
    return per_experiment + Pipeline(joint())
