"""The pipeline that compares base model and methods on the same noise, and reports on them."""

from dpok_pipeline.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
