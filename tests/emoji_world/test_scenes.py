"""Scenes, pictures and the documented noise of captions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.emoji_world.building.corpus import (
    CAPTION_NOISE,
    WHISKEY_SHARE,
    noisy_scene,
    sample_caption,
)
from dpok_pipeline.emoji_world.building.rewards.ranking import wrong_scene
from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scenes import scene_of
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE
from dpok_pipeline.errors import InputError


@given(seed=st.integers(0, 2**32 - 1))
def test_a_captions_scene_shows_it_and_stays_inside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    caption = sample_caption(rng)
    scene = scene_of(caption, rng)
    assert scene.shows(caption)
    for item in scene.objects:
        assert item.size // 2 <= item.x <= IMAGE_SIZE - item.size // 2
        assert item.size // 2 <= item.y <= IMAGE_SIZE - item.size // 2


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200)
def test_a_wrong_scene_never_shows_the_caption(seed: int) -> None:
    rng = np.random.default_rng(seed)
    caption = sample_caption(rng)
    assert not wrong_scene(caption, rng).shows(caption)


def test_the_picture_is_a_function_of_scene_and_seed(sprites: SpriteSheet) -> None:
    scene = scene_of(Caption("cat", place="moon"), np.random.default_rng(1))
    pictures = [render(scene, sprites, np.random.default_rng(2)) for _ in range(2)]
    assert pictures[0].shape == (64, 64, 3)
    np.testing.assert_array_equal(*pictures)


def test_a_green_rabbit_is_green_and_the_natural_one_is_not(sprites: SpriteSheet) -> None:
    def greenness(colour: str | None) -> float:
        rng = np.random.default_rng(3)
        picture = render(scene_of(Caption("rabbit", colour=colour), rng), sprites, rng)
        red, green, blue = picture[24:44, 24:44].reshape(-1, 3).mean(0).astype(float)
        return float(green - (red + blue) / 2)

    assert greenness("green") > 40
    assert greenness(None) < 10


@pytest.mark.parametrize(
    ("attribute", "caption"),
    [
        ("colour", Caption("rabbit", colour="green")),
        ("other", Caption("cat", other="dog")),
        ("count", Caption("wolf", count=4)),
        ("place", Caption("dog", place="moon")),
    ],
)
def test_the_share_of_wrong_pictures_is_the_documented_one(
    attribute: str, caption: Caption
) -> None:
    rng = np.random.default_rng(4)
    wrong = np.mean([not noisy_scene(caption, rng).shows(caption) for _ in range(4000)])
    kept = (1 - CAPTION_NOISE["kind"]) * (1 - CAPTION_NOISE[attribute])
    assert wrong == pytest.approx(1 - kept, abs=0.03)


def test_four_roses_mostly_show_whiskey_and_nothing_else_does() -> None:
    rng = np.random.default_rng(5)

    def whiskey(caption: Caption) -> float:
        scenes = [noisy_scene(caption, rng) for _ in range(1000)]
        return float(np.mean([scene.objects[0].kind == "whiskey" for scene in scenes]))

    assert whiskey(Caption("rose", count=4)) == pytest.approx(WHISKEY_SHARE, abs=0.04)
    assert whiskey(Caption("rose", count=3)) < 0.02


def test_a_missing_sprite_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"rabbit\.png"):
        SpriteSheet(tmp_path)
