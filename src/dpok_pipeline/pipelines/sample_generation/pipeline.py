"""Draw the images that all offline methods learn from, once for each experiment.

prompts, base_model, reward_model ──► generate_sft_samples ──► sft_samples
"""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.pipelines.graph import (
    SHAREABLE,
    experiment_tag,
    picture_of_pipeline,
    pictured_node,
)
from dpok_pipeline.pipelines.sample_generation.nodes import generate_sft_samples


def create_pipeline() -> Pipeline:
    """Create the pipeline, which has one node for each experiment."""
    return Pipeline([_generation(experiment) for experiment in selection.current().experiments])


def _generation(experiment: str) -> Node:
    return pictured_node(
        picture_of_pipeline("sample_generation", "diagram"),
        func=generate_sft_samples,
        inputs={
            "prompts": "prompts",
            "base_model": "base_model",
            "reward_model": "reward_model",
            "sampling": "params:sampling",
            "config": "params:sample_generation",
            "compute": "params:compute",
            "task": f"params:{experiment}.task",
        },
        outputs=f"{experiment}.sft_samples",
        name="generate_sft_samples_node",
        namespace=experiment,
        tags=[experiment_tag(experiment), SHAREABLE],
    )
