"""Reward-weighted supervised fine-tuning on the stored samples: the paper's baseline."""

from dpok_pipeline.pipelines.sft_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
