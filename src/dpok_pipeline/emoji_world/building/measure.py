"""Measure the figures of the model card on scenes and samples that no training has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from dpok_pipeline.emoji_world.building.clip import WorldClip
from dpok_pipeline.emoji_world.building.config import SamplesConfig
from dpok_pipeline.emoji_world.building.corpus import noisy_scene, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor
from dpok_pipeline.emoji_world.building.readers import GarblingSprites, like_samples
from dpok_pipeline.emoji_world.building.rewards.aesthetic import Aesthetic, rated_batch
from dpok_pipeline.emoji_world.building.rewards.ranking import render_pairs
from dpok_pipeline.emoji_world.building.rewards.samples import (
    draw_captions,
    ranked_samples,
    sample_pictures,
)
from dpok_pipeline.emoji_world.eye_labels import agreement, read_eye_labels
from dpok_pipeline.emoji_world.judge import JudgeScorer
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import SceneReader
from dpok_pipeline.emoji_world.scenes import scene_of
from dpok_pipeline.emoji_world.vocabulary import KIND_NAMES
from dpok_pipeline.rewards.image_reward import ImageReward

HELD_OUT_SEED = 90_001
HELD_OUT = 512  # scenes, or pairs of them, behind each figure that needs no sampling
PAPER_PROMPTS = (
    "A green colored rabbit.", "A cat and a dog.", "Four wolves in the park.", "A dog on the moon.",
    "A green colored cat.", "A cat and a cup.", "Four birds in the park.", "A lion on the moon.",
    "Four roses.",
)  # fmt: skip


class World(NamedTuple):
    """Every trained network, in the order of the pipeline's inputs."""

    autoencoder: AutoencoderKL
    clip: WorldClip
    base_model: StableDiffusionPipeline
    judge: SceneReader
    rater: SceneReader
    image_reward: ImageReward
    aesthetic: Aesthetic


@torch.no_grad()
def measure(world: World, sprites_folder: Path, samples: SamplesConfig) -> dict[str, Any]:
    """Return all figures by network and name; shares are in [0, 1]."""
    sprites = GarblingSprites(sprites_folder)
    sprites.rng = np.random.default_rng(HELD_OUT_SEED)
    judge, rater = JudgeScorer(world.judge), JudgeScorer(world.rater)
    base_folder = Path(world.base_model.config._name_or_path)
    held_out = samples.model_copy(
        update={"captions": min(samples.captions, 400), "seed": HELD_OUT_SEED}
    )
    figures: dict[str, Any] = {
        "autoencoder": {"mean_absolute_error": _reconstruction_error(world, sprites)},
        "judge": {"clean_accuracy": _clean_accuracy(judge, sprites)},
        "rater": {"clean_accuracy": _clean_accuracy(rater, sprites)},
        "base_model": _base_accuracy(judge, base_folder, samples),
        "aesthetic": _aesthetic_order(world, sprites),
        "image_reward": {"render_pairs": _render_pair_accuracy(world, sprites)},
    }
    pairs = ranked_samples(world.base_model, world.rater, held_out)
    figures["image_reward"]["sample_pairs"] = _share_ranked_right(
        world.image_reward, list(pairs.prompts), _unit(pairs.better), _unit(pairs.worse)
    )
    # Training mixes both kinds of pairs half and half.
    figures["image_reward"]["pairs_half_and_half"] = (
        figures["image_reward"]["render_pairs"] + figures["image_reward"]["sample_pairs"]
    ) / 2
    prompts = draw_captions(held_out.captions, HELD_OUT_SEED + 1)
    pictures = _unit(sample_pictures(base_folder, prompts, samples.sampling(), HELD_OUT_SEED))
    agreements = judge.score(pictures, prompts) == rater.score(pictures, prompts)
    figures["judge"]["agreement_with_rater_on_samples"] = agreements.float().mean().item()
    labels = sprites_folder.parent / "eye_labels"
    if labels.is_dir():
        for name, share in agreement(judge, read_eye_labels(labels)).items():
            figures["judge"][f"agreement_with_eye_{name}"] = share
    return figures


def _unit(pictures: Tensor) -> Tensor:
    return pictures.float() / 255


def _reconstruction_error(world: World, sprites: GarblingSprites) -> float:
    scenes = [noisy_scene(sample_caption(sprites.rng), sprites.rng) for _ in range(HELD_OUT // 4)]
    images = to_tensor([render(scene, sprites, sprites.rng) for scene in scenes]) * 2 - 1
    decoded = world.autoencoder.decode(world.autoencoder.encode(images).latent_dist.mean).sample
    return (decoded - images).abs().mean().item() / 2


def _clean_accuracy(judge: JudgeScorer, sprites: GarblingSprites) -> float:
    captions = [sample_caption(sprites.rng) for _ in range(2 * HELD_OUT)]
    images = to_tensor(
        [render(scene_of(caption, sprites.rng), sprites, sprites.rng) for caption in captions]
    )
    return judge.score(images, [caption.sentence() for caption in captions]).mean().item()


def _base_accuracy(
    judge: JudgeScorer, base_folder: Path, samples: SamplesConfig
) -> dict[str, float]:
    """Return the share of right samples of each of the paper's prompts, and of single objects.

    There are at most 128 samples of a prompt.
    """
    singles = [f"A{'n' if kind[0] in 'aeiou' else ''} {kind}." for kind in KIND_NAMES]
    count = min(128, samples.captions)
    prompts = [prompt for prompt in PAPER_PROMPTS for _ in range(count)]
    prompts += [prompt for prompt in singles for _ in range(min(16, count))]
    pictures = sample_pictures(base_folder, prompts, samples.sampling(), HELD_OUT_SEED)
    right = judge.score(_unit(pictures), prompts)
    accuracy = {
        prompt: right[[p == prompt for p in prompts]].mean().item() for prompt in PAPER_PROMPTS
    }
    accuracy["single objects"] = right[[p in singles for p in prompts]].mean().item()
    return accuracy


def _aesthetic_order(world: World, sprites: GarblingSprites) -> dict[str, float]:
    images, ratings = rated_batch(HELD_OUT, sprites, sprites.rng)
    predicted = world.aesthetic(images)
    clean, damaged = predicted[: HELD_OUT // 3], predicted[HELD_OUT // 3 :]
    # Every clean picture is compared with every damaged one: (clean, 1) > (damaged,).
    return {
        "clean_above_damaged": (clean[:, None] > damaged).float().mean().item(),
        "mean_clean": clean.mean().item(),
        "mean_damaged": damaged.mean().item(),
        "correlation_with_rating": torch.corrcoef(torch.stack([predicted, ratings]))[0, 1].item(),
    }


def _render_pair_accuracy(world: World, sprites: GarblingSprites) -> float:
    degrade = like_samples(world.autoencoder, 1 / 8)
    prompts, right, wrong = render_pairs(HELD_OUT, sprites, degrade, sprites.rng)
    return _share_ranked_right(world.image_reward, prompts, right, wrong)


def _share_ranked_right(
    model: ImageReward, prompts: list[str], better: Tensor, worse: Tensor
) -> float:
    margin = model.score(better, prompts) - model.score(worse, prompts)
    return (margin > 0).float().mean().item()
