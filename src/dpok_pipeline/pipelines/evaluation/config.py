"""Parameters of the evaluation pipeline."""

from __future__ import annotations

from pydantic import Field

from dpok_pipeline.config import FrozenConfig


class EvaluationConfig(FrozenConfig):
    """How many images are compared, and how certain the intervals are."""

    images_per_prompt: int = Field(
        ge=2, description="Images per prompt and model; the three models share their noise."
    )
    seed: int = Field(ge=0, description="Of the noise; training draws from other seeds.")
    batch_size: int = Field(
        ge=1, description="Images sampled or scored at once; halved when memory runs out."
    )
    replicates: int = Field(ge=100, description="Bootstrap replicates behind each 95 % interval.")
