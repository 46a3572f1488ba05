"""prompt_sources ──► prepare_prompts ──► prompts."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts


def create_pipeline() -> Pipeline:
    """Make the pipeline: one table for all experiments."""
    return Pipeline(
        [
            Node(
                func=prepare_prompts,
                inputs=["prompt_sources", "base_model"],
                outputs="prompts",
                name="prepare_prompts_node",
            )
        ]
    )
