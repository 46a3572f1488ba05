"""The EmojiWorld base model, reward models, rater and judge, made from the sprites."""

from dpok_pipeline.pipelines.world_building.pipeline import create_pipeline

__all__ = ["create_pipeline"]
