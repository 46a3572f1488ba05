"""The pipeline that turns prompt files into one validated table."""

from dpok_pipeline.pipelines.prompt_preparation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
