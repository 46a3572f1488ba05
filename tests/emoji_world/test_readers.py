"""Readers, judge and reward training: labels by hand, and that training teaches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dpok_pipeline.emoji_world.building.loop import to_tensor
from dpok_pipeline.emoji_world.building.readers import (
    NO_COLOUR,
    GarblingSprites,
    blur_and_noise,
    labels_of,
    random_scene,
    reading_loss,
    train_reader,
)
from dpok_pipeline.emoji_world.building.rewards.aesthetic import DAMAGES
from dpok_pipeline.emoji_world.building.rewards.ranking import (
    Pairs,
    new_reward,
    train_reward,
    with_unit_spread,
)
from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.judge import JudgeScorer
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import READ_COLOURS, READ_KINDS, Reading, SceneReader
from dpok_pipeline.emoji_world.scenes import Scene, SceneObject, scene_of
from dpok_pipeline.emoji_world.vocabulary import PLACE_NAMES
from dpok_pipeline.errors import InputError


def _object(kind: str, colour: str) -> SceneObject:
    return SceneObject(kind, colour, 20, 20, 20, False)


def test_labels_of_a_scene() -> None:
    scene = Scene((_object("cat", "green"), _object("cat", "green"), _object("dog", "red"),
                   _object("cat", "green"), _object("dog", "blue")), "moon")  # fmt: skip
    counts, colours, places = labels_of([scene])
    assert counts[0, READ_KINDS.index("cat")] == 3
    assert counts[0, READ_KINDS.index("dog")] == 2
    assert counts.sum() == 5
    assert colours[0, READ_KINDS.index("cat")] == READ_COLOURS.index("green")
    assert colours[0, READ_KINDS.index("dog")] == NO_COLOUR  # two colours: none can be asked
    assert places.tolist() == [PLACE_NAMES.index("moon")]


def test_the_likelihood_multiplies_what_the_caption_says() -> None:
    counts = torch.full((1, len(READ_KINDS), 6), 1e-9)
    counts[..., 0] = 1.0
    counts[0, READ_KINDS.index("cat"), :2] = torch.tensor([0.2, 0.8])
    colours = torch.full((1, len(READ_KINDS), len(READ_COLOURS)), 1 / len(READ_COLOURS))
    colours[0, READ_KINDS.index("cat"), READ_COLOURS.index("green")] = 0.5
    place = torch.tensor([[0.1, 0.2, 0.6, 0.1]])
    reading = Reading(counts.log(), colours.log(), place.log())
    caption = Caption("cat", colour="green", place=PLACE_NAMES[2])
    assert reading.log_likelihood(0, caption) == pytest.approx(math.log(0.8 * 0.5 * 0.6), abs=1e-4)
    assert reading.log_likelihood(0, Caption("cat")) == pytest.approx(math.log(0.8), abs=1e-4)
    assert reading.log_likelihood(0, Caption("dog")) < math.log(1e-6)


@pytest.mark.parametrize("architecture", ["residual", "plain"])
def test_training_a_reader_teaches_and_it_survives_the_disk(
    architecture: str, sprites: GarblingSprites, tmp_path: Path
) -> None:
    scenes = [random_scene(np.random.default_rng(seed)) for seed in range(48)]
    pictures = to_tensor([render(scene, sprites, np.random.default_rng(0)) for scene in scenes])
    redrawn = ((pictures * 255).byte(), labels_of(scenes))

    def taught(steps: int) -> tuple[SceneReader, float]:
        reader = train_reader(
            sprites, architecture, 32, redrawn, steps=steps, batch_size=12, learning_rate=3e-3,
            seed=1, degrade=blur_and_noise,
        )  # fmt: skip
        with torch.no_grad():
            return reader, reading_loss(reader(pictures), labels_of(scenes)).item()

    _, before = taught(1)
    reader, after = taught(30)
    assert after < 0.8 * before
    reader.save(tmp_path)
    loaded = SceneReader.from_folder(tmp_path)
    picture = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded(picture).place, reader(picture).place, rtol=0, atol=0)


def test_a_truncated_judge_is_refused_by_name(tmp_path: Path) -> None:
    SceneReader("plain", 32).save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a whole scene reader"):
        JudgeScorer.from_folder(tmp_path)


def test_the_judge_refuses_what_it_cannot_read() -> None:
    judge = JudgeScorer(SceneReader("plain", 32))
    with pytest.raises(InputError, match="unicorn"):
        judge.score(torch.rand(1, 3, 64, 64), ["A unicorn."])


@pytest.mark.stress
def test_the_reward_learns_to_rank_the_pairs_it_is_shown(sprites: GarblingSprites) -> None:
    """A green rabbit above a natural one, shown again and again, must come out above it."""
    rng = np.random.default_rng(3)
    caption = Caption("rabbit", colour="green")
    better, worse = (
        (to_tensor([render(scene_of(shown, rng), sprites, rng) for _ in range(8)]) * 255).byte()
        for shown in (caption, Caption("rabbit"))
    )
    model = train_reward(
        new_reward(), sprites, Pairs([caption.sentence()] * 8, better, worse), steps=30,
        batch_size=16, learning_rate=1e-3, seed=2, degrade=blur_and_noise,
    )  # fmt: skip
    with torch.no_grad():
        margin = model.score(better / 255, [caption.sentence()] * 8) - model.score(
            worse / 255, [caption.sentence()] * 8
        )
    assert (margin > 0).all()
    normalised = with_unit_spread(model, Pairs([caption.sentence()] * 8, better, worse))
    with torch.no_grad():
        scores = normalised.score(torch.cat([better, worse]) / 255, [caption.sentence()] * 16)
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_severity_is_no_damage_and_more_is_more(damage) -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 64, 64) * 0.6 + 0.2

    def change(severity: float) -> float:
        torch.manual_seed(1)
        damaged = damage(pictures, torch.full((2,), severity))
        return (damaged - pictures).abs().mean().item()

    assert change(0.0) < 1e-5
    assert change(0.0) < change(0.3) < change(1.0)
