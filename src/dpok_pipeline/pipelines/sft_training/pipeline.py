"""sft_samples, base_model ──► train_sft_lora ──► sft_lora, sft_curves; per experiment."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration.experiments import for_each_experiment
from dpok_pipeline.pipelines.sft_training.nodes import train_sft_lora


def template() -> list[Node]:
    """Make the nodes of one experiment."""
    return [
        Node(
            func=train_sft_lora,
            inputs={
                "samples": "sft_samples",
                "base_model": "base_model",
                "lora": "params:lora",
                "config": "params:sft_training",
                "compute": "params:compute",
                "resume": "params:resume",
                "work_folder": "sft_work",
                "tracker": "sft_tracker",
            },
            outputs=["sft_lora", "sft_curves"],
            name="train_sft_lora_node",
        )
    ]


def create_pipeline() -> Pipeline:
    """Make the pipeline: the template once per experiment."""
    shared = {
        "params:lora",
        "params:sft_training",
        "params:compute",
        "params:resume",
    }
    return for_each_experiment(template, shared)
