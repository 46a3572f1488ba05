"""The pipeline that draws and scores images of the base model, which SFT learns from."""

from dpok_pipeline.pipelines.sample_generation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
