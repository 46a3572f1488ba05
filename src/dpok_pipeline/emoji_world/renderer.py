"""Draw a scene as a 64x64 RGB picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dpok_pipeline.emoji_world.scenes import Scene
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE, PLAIN

_PAPER = [(250, 246, 236), (236, 244, 250), (247, 238, 244), (240, 248, 238), (248, 248, 248)]


def render(scene: Scene, sprites: SpriteSheet, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a picture `(64, 64, 3)` uint8; `rng` varies the background only."""
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE))
    draw = ImageDraw.Draw(image)
    {PLAIN: _plain, "park": _park, "moon": _moon, "beach": _beach}[scene.place](draw, rng)
    for item in scene.objects:
        sprite = sprites.get(item.kind, item.colour, item.size, item.flipped)
        image.paste(sprite, (item.x - item.size // 2, item.y - item.size // 2), sprite)
    return np.asarray(image, dtype=np.uint8)


def _plain(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, 64, 64), fill=_PAPER[rng.integers(len(_PAPER))])


def _park(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    horizon = int(rng.integers(22, 30))
    draw.rectangle((0, 0, 64, horizon), fill=(150, 210, 250))
    draw.rectangle((0, horizon, 64, 64), fill=(120, 195, 85))
    x = int(rng.integers(4, 56))
    draw.rectangle((x - 1, horizon - 8, x + 2, horizon + 2), fill=(120, 80, 45))
    draw.ellipse((x - 8, horizon - 22, x + 9, horizon - 5), fill=(50, 140, 60))


def _moon(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    horizon = int(rng.integers(26, 34))
    draw.rectangle((0, 0, 64, horizon), fill=(12, 14, 40))
    for _ in range(7):
        left, top = int(rng.integers(1, 62)), int(rng.integers(1, horizon - 2))
        draw.rectangle((left, top, left + 1, top + 1), fill=(250, 250, 215))
    draw.rectangle((0, horizon, 64, 64), fill=(175, 175, 182))
    for _ in range(3):
        x, y = int(rng.integers(2, 52)), int(rng.integers(horizon + 3, 58))
        draw.ellipse((x, y, x + 11, y + 5), fill=(135, 135, 145))


def _beach(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    sea = int(rng.integers(18, 24))
    sand = sea + int(rng.integers(10, 14))
    draw.rectangle((0, 0, 64, sea), fill=(255, 214, 165))
    x = int(rng.integers(8, 56))
    draw.ellipse((x - 6, sea - 14, x + 6, sea - 2), fill=(255, 240, 120))
    draw.rectangle((0, sea, 64, sand), fill=(40, 130, 200))
    draw.rectangle((0, sand, 64, 64), fill=(238, 220, 165))
