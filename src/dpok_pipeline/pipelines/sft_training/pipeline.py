"""Train LoRAs on the stored samples, one for each experiment and offline method.

sft_samples, base_model ──► train_offline_lora ──► lora, curves, filmstrip
"""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.pipelines.graph import method_node, picture_of_training
from dpok_pipeline.pipelines.sft_training.nodes import train_offline_lora


def create_pipeline() -> Pipeline:
    """Create the pipeline, which has one node for each experiment and offline method."""
    compared = selection.current()
    return Pipeline(
        [
            _training(experiment, method.name)
            for experiment in compared.experiments
            for method in compared.offline
        ]
    )


def _training(experiment: str, method: str) -> Node:
    return method_node(
        train_offline_lora,
        experiment,
        method,
        inputs={
            "samples": f"{experiment}.sft_samples",
            "base_model": "base_model",
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
