"""The pipeline of offline methods such as SFT, which learn from the stored samples."""

from dpok_pipeline.pipelines.sft_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
