"""Parameters of the human study."""

from __future__ import annotations

from pydantic import Field

from dpok_pipeline.config import FrozenConfig


class StudyConfig(FrozenConfig):
    """How many pairs of image sets raters see, and how they are drawn."""

    pairs: int = Field(
        ge=1,
        le=60,
        description="Pairs of image sets on the page, shared out over contrasts and prompts; fewer "
        "where there are not as many images.",
    )
    seed: int = Field(
        ge=0,
        description="Seed of which noises are shown, of the sides, of the pairs' ids and order.",
    )
    quality_margin: float = Field(
        ge=0.0,
        description="Difference of two sets' mean aesthetic scores up to which the stand-in sees "
        "none, in points of that score; no person's vote depends on it.",
    )
