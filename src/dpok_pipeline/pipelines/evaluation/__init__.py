"""Base model, SFT and DPOK on the same noise: scores, comparison, figures, report."""

from dpok_pipeline.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
