"""prompts, base_model, reward_model ──► generate_sft_samples ──► sft_samples; per experiment."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration.experiments import for_each_experiment
from dpok_pipeline.pipelines.sample_generation.nodes import generate_sft_samples


def template() -> list[Node]:
    """Make the nodes of one experiment."""
    return [
        Node(
            func=generate_sft_samples,
            inputs={
                "prompts": "prompts",
                "base_model": "base_model",
                "reward_model": "reward_model",
                "sampling": "params:sampling",
                "config": "params:sample_generation",
                "compute": "params:compute",
                "resume": "params:resume",
                "experiment": "params:experiment",
                "work_folder": "samples_work",
            },
            outputs="sft_samples",
            name="generate_sft_samples_node",
        )
    ]


def create_pipeline() -> Pipeline:
    """Make the pipeline: the template once per experiment."""
    shared = {"params:sampling", "params:sample_generation", "params:compute", "params:resume"}
    return for_each_experiment(template, shared)
