"""The pipeline that makes the networks of EmojiWorld from sprites."""

from dpok_pipeline.pipelines.world_building.pipeline import create_pipeline

__all__ = ["create_pipeline"]
