"""What readers and reward learn from: stains, mixed colours, redrawn renders, ranked samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from dpok_pipeline.emoji_world.building.loop import to_tensor
from dpok_pipeline.emoji_world.building.readers import NO_COLOUR, GarblingSprites
from dpok_pipeline.emoji_world.building.redraw import MOST_STEPS, redraw, redrawn_scenes
from dpok_pipeline.emoji_world.building.rewards.ranking import TIE, Pairs, rank_samples
from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import MIXED, READ_COLOURS, SceneReader
from dpok_pipeline.emoji_world.scenes import scene_of
from dpok_pipeline.emoji_world.vocabulary import COLOURS

from .conftest import WORLD


@pytest.fixture(scope="module")
def base_model() -> StableDiffusionPipeline:
    """The world's base model."""
    return StableDiffusionPipeline.from_pretrained(WORLD / "base_model")


@pytest.mark.parametrize(
    ("stained", "colour", "low", "high"), [(0.0, "green", 0, 0), (1.0, "green", 0.0, 0.3)]
)
def test_a_stained_sprite_keeps_its_colour(
    stained: float, colour: str, low: float, high: float
) -> None:
    sprites = GarblingSprites(WORLD / "sprites")
    sprites.rng = np.random.default_rng(4)
    clean = np.asarray(sprites.get("pig", colour, 40))[..., :3].astype(int)
    sprites.stained = stained
    drawn = [np.asarray(sprites.get("pig", colour, 40))[..., :3].astype(int) for _ in range(20)]
    changed = [float((np.abs(d - clean).sum(-1) > 60).mean()) for d in drawn]
    assert low <= np.mean(changed) <= high
    assert (max(changed) > 0) == (stained > 0)


def test_a_mixed_sprite_is_large_parts_two_colours() -> None:
    sprites = GarblingSprites(WORLD / "sprites")
    sprites.rng = np.random.default_rng(2)
    drawn = {np.asarray(sprites.get("pig", MIXED, 40)).tobytes() for _ in range(6)}
    assert len(drawn) == 6
    pure = {np.asarray(sprites.get("pig", colour, 40)).tobytes() for colour in COLOURS}
    assert not drawn & pure


def test_redrawing_keeps_what_is_shown(base_model: StableDiffusionPipeline) -> None:
    sprites = GarblingSprites(WORLD / "sprites")
    rng = np.random.default_rng(6)
    scenes = [scene_of(parse("A cat."), rng) for _ in range(6)]
    images = to_tensor([render(scene, sprites, rng) for scene in scenes])
    redrawn = redraw(base_model, images, seed=1, batch_size=2)
    assert redrawn.dtype == torch.uint8
    difference = (redrawn / 255 - images).abs().mean((1, 2, 3))
    other = (images.roll(1, 0) - images).abs().mean((1, 2, 3))
    assert (difference > 1e-3).all()  # drawn over
    assert (difference < other).all()  # but nearer to its own render than to another's
    assert torch.equal(redrawn, redraw(base_model, images, seed=1, batch_size=2))
    assert not torch.equal(redrawn, redraw(base_model, images, seed=2, batch_size=2))


def test_deeper_redrawing_changes_more(
    base_model: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprites = GarblingSprites(WORLD / "sprites")
    rng = np.random.default_rng(6)
    images = to_tensor([render(scene_of(parse("Two cats."), rng), sprites, rng)] * 4)

    def change(depth: int) -> float:
        monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(depth))
        return (redraw(base_model, images, seed=1) / 255 - images).abs().mean().item()

    assert change(1) < change(MOST_STEPS)


def test_redrawn_scenes_come_with_what_they_show(base_model: StableDiffusionPipeline) -> None:
    pictures, (counts, colours, places) = redrawn_scenes(
        base_model, GarblingSprites(WORLD / "sprites"), 8, seed=3
    )
    assert pictures.shape == (8, 3, 64, 64)
    assert (counts[:, -1] == 0).all()  # none garbled
    assert (counts.sum(1) >= 1).all()
    assert ((colours == NO_COLOUR) | (colours < len(READ_COLOURS))).all()
    assert places.shape == (8,)


class _ReaderByBrightness(SceneReader):
    """Likes a picture as much as it is bright: log-likelihood 10 × mean."""

    def __init__(self) -> None:
        super().__init__("plain", 32)

    def forward(self, images: Tensor) -> _Reading:  # type: ignore[override]
        return _Reading(images.mean((1, 2, 3)) * 10)


class _Reading:
    def __init__(self, likes: Tensor) -> None:
        self.likes = likes

    def log_likelihood(self, row: int, caption: object) -> float:
        return self.likes[row].item()


def test_ranking_pairs_every_two_samples_but_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpok_pipeline.emoji_world.building.rewards.ranking.LABEL_NOISE", 0.0)
    levels = (0, 51, 54, 255)  # log-likelihoods 0, 2, 2.1, 10: one pair closer than TIE
    assert 0.1 < TIE < 2
    group = torch.stack([torch.full((3, 64, 64), level, dtype=torch.uint8) for level in levels])
    pairs = rank_samples(["A cat."], group[None], _ReaderByBrightness(), seed=0)
    assert len(pairs.prompts) == 5  # of six
    assert (pairs.better.float().mean((1, 2, 3)) > pairs.worse.float().mean((1, 2, 3))).all()


def test_joined_pairs_keep_their_order() -> None:
    one, two = (
        Pairs([name], torch.full((1, 3, 4, 4), level), torch.zeros(1, 3, 4, 4))
        for name, level in (("a", 1), ("b", 2))
    )
    both = one.joined(two)
    assert both.prompts == ["a", "b"]
    assert both.better[:, 0, 0, 0].tolist() == [1, 2]
