"""Fixtures: the sprites that are in git."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dpok_pipeline.emoji_world.building.readers import GarblingSprites

WORLD = Path(__file__).parents[2] / "data" / "01_raw" / "emoji_world"


@pytest.fixture(scope="session")
def sprites() -> GarblingSprites:
    """The sprite sheet."""
    sheet = GarblingSprites(WORLD / "sprites")
    sheet.rng = np.random.default_rng(0)
    return sheet
