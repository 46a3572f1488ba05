"""Turn the rows of all prompt sources into one validated table for all experiments."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts


def create_pipeline() -> Pipeline:
    """Create the pipeline, which has one node."""
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
