"""Train LoRAs on images that the policy draws, one for each experiment and online method.

prompts, base_model, reward_model ──► train_online_lora ──► lora, curves, filmstrip
"""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.pipelines.graph import method_node, picture_of_training
from dpok_pipeline.pipelines.rl_training.nodes import train_online_lora


def create_pipeline() -> Pipeline:
    """Create the pipeline, which has one node for each experiment and online method."""
    compared = selection.current()
    return Pipeline(
        [
            _training(experiment, method.name)
            for experiment in compared.experiments
            for method in compared.online
        ]
    )


def _training(experiment: str, method: str) -> Node:
    return method_node(
        train_online_lora,
        experiment,
        method,
        inputs={
            "prompts": "prompts",
            "base_model": "base_model",
            "reward_model": "reward_model",
            "scorers": "scorers",
            "embedder": "embedder",
            "sampling": "params:sampling",
            "method": f"params:methods.{method}",
            "compute": "params:compute",
        },
        outputs=[
            f"{experiment}.{method}.lora",
            f"{experiment}.{method}.curves",
            f"{experiment}.{method}.filmstrip",
        ],
        picture=picture_of_training(method),
        shareable=True,
    )
