"""DPOK: policy gradient on the denoising steps, with a KL term to the base model."""

from dpok_pipeline.pipelines.rl_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
