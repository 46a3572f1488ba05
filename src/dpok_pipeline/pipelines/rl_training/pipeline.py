"""prompts, base_model, reward_model ──► train_rl_lora ──► rl_lora, rl_curves; per experiment."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration.experiments import for_each_experiment
from dpok_pipeline.pipelines.rl_training.nodes import train_rl_lora


def template() -> list[Node]:
    """Make the nodes of one experiment."""
    return [
        Node(
            func=train_rl_lora,
            inputs={
                "prompts": "prompts",
                "base_model": "base_model",
                "reward_model": "reward_model",
                "scorers": "scorers",
                "embedder": "embedder",
                "sampling": "params:sampling",
                "lora": "params:lora",
                "config": "params:rl_training",
                "compute": "params:compute",
                "resume": "params:resume",
                "experiment": "params:experiment",
                "work_folder": "rl_work",
                "tracker": "rl_tracker",
            },
            outputs=["rl_lora", "rl_curves"],
            name="train_rl_lora_node",
        )
    ]


def create_pipeline() -> Pipeline:
    """Make the pipeline: the template once per experiment."""
    shared = {
        "params:sampling",
        "params:lora",
        "params:rl_training",
        "params:compute",
        "params:resume",
    }
    return for_each_experiment(template, shared)
