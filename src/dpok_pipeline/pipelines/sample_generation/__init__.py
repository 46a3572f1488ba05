"""Images of the frozen base model with their rewards: what SFT learns from."""

from dpok_pipeline.pipelines.sample_generation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
