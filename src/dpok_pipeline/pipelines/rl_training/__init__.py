"""The pipeline of online methods such as DPOK, which draw images while they learn."""

from dpok_pipeline.pipelines.rl_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
