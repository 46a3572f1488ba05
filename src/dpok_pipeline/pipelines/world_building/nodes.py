"""Nodes of the world_building pipeline: each trains one network, and the last measures all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.emoji_world.building.config import TrainingConfig, WorldConfig

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionPipeline

    from dpok_pipeline.emoji_world.building.clip import WorldClip
    from dpok_pipeline.emoji_world.building.rewards.aesthetic import Aesthetic
    from dpok_pipeline.emoji_world.scene_reader import Architecture, SceneReader
    from dpok_pipeline.rewards.image_reward import ImageReward

# Share of a batch that passes through the autoencoder, so that readers and reward learn its look.
READER_DECODED, REWARD_DECODED = 1 / 6, 1 / 8
# Number of pictures that the base model redraws for a reader, and of pairs for the reward.
READER_REDRAWN, REWARD_REDRAWN = 6144, 2048


def build_autoencoder(world: WorldConfig) -> AutoencoderKL:
    """Train the autoencoder."""
    from dpok_pipeline.emoji_world.building.autoencoder import train_autoencoder
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    return train_autoencoder(SpriteSheet(Path(world.sprites)), **_arguments(world.autoencoder))


def build_clip(world: WorldConfig) -> WorldClip:
    """Learn the tokenizer, and train the CLIP."""
    from dpok_pipeline.emoji_world.building.clip import WorldClip, build_tokenizer, train_clip
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    tokenizer = build_tokenizer()
    sprites = SpriteSheet(Path(world.sprites))
    return WorldClip(train_clip(sprites, tokenizer, **_arguments(world.clip)), tokenizer)


def build_base_model(
    world: WorldConfig, autoencoder: AutoencoderKL, clip: WorldClip
) -> StableDiffusionPipeline:
    """Train the UNet on the large corpus, then on the filtered one."""
    from dpok_pipeline.emoji_world.building import base_model
    from dpok_pipeline.emoji_world.building.corpus import CAPTION_NOISE, FILTERED_NOISE
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    sprites, text_encoder = SpriteSheet(Path(world.sprites)), clip.text_encoder()
    unet = base_model.new_unet(text_encoder.config.hidden_size, world.unet.seed)
    for corpus, noise, training in (
        (world.corpus, CAPTION_NOISE, world.unet),
        (world.filtered_corpus, FILTERED_NOISE, world.unet_filtered),
    ):
        encoded = base_model.encode_corpus(
            corpus.pictures, sprites, autoencoder, clip.tokenizer, corpus.seed, noise
        )
        unet = base_model.train_unet(
            unet, encoded, text_encoder, clip.tokenizer, **_arguments(training)
        )
    return base_model.assemble(unet, autoencoder, text_encoder, clip.tokenizer)


def build_judge(world: WorldConfig, base_model: StableDiffusionPipeline) -> SceneReader:
    """Train the judge."""
    return _train_reader(world, base_model, "residual", 128, world.judge)


def build_rater(world: WorldConfig, base_model: StableDiffusionPipeline) -> SceneReader:
    """Train the rater, which has another architecture and other seeds than the judge."""
    return _train_reader(world, base_model, "plain", 192, world.rater)


def build_reward(
    world: WorldConfig,
    clip: WorldClip,
    base_model: StableDiffusionPipeline,
    rater: SceneReader,
) -> ImageReward:
    """Train the reward model by captioning, then by ranking, and normalise its scores."""
    from dpok_pipeline.emoji_world.building.readers import GarblingSprites, like_samples
    from dpok_pipeline.emoji_world.building.redraw import redrawn_pairs
    from dpok_pipeline.emoji_world.building.rewards import captioning, ranking
    from dpok_pipeline.emoji_world.building.rewards.samples import ranked_samples

    sprites = GarblingSprites(Path(world.sprites))
    samples = ranked_samples(base_model, rater, world.samples)
    redrawn = redrawn_pairs(base_model, sprites, REWARD_REDRAWN, world.reward_ranking.seed)
    model = ranking.new_reward(world.reward_captioning.seed)
    captioning.take_over_image_half(model, clip.model, sprites)
    captioning.pretrain_text_half(model, sprites, **_arguments(world.reward_captioning))
    degrade = like_samples(base_model.vae, REWARD_DECODED)
    pairs = samples.joined(redrawn)
    model = ranking.train_reward(
        model, sprites, pairs, degrade=degrade, **_arguments(world.reward_ranking)
    )
    return ranking.with_unit_spread(model, samples)


def build_aesthetic(world: WorldConfig, clip: WorldClip) -> Aesthetic:
    """Train the aesthetic score from the CLIP."""
    from dpok_pipeline.emoji_world.building.readers import GarblingSprites
    from dpok_pipeline.emoji_world.building.rewards.aesthetic import train_aesthetic

    sprites = GarblingSprites(Path(world.sprites))
    return train_aesthetic(clip, sprites, **_arguments(world.aesthetic))


def measure_world(world: WorldConfig, *networks: Any) -> dict[str, Any]:
    """Measure every figure of the model card on held-out scenes and samples."""
    from dpok_pipeline.emoji_world.building.measure import World, measure

    return measure(World(*networks), Path(world.sprites), world.samples)


def _arguments(training: TrainingConfig) -> dict[str, Any]:
    """Return a training's settings as the keyword arguments that every `train_…` takes."""
    return training.model_dump()


def _train_reader(
    world: WorldConfig,
    base_model: StableDiffusionPipeline,
    architecture: Architecture,
    width: int,
    training: TrainingConfig,
) -> SceneReader:
    from dpok_pipeline.emoji_world.building.readers import (
        GarblingSprites,
        like_samples,
        train_reader,
    )
    from dpok_pipeline.emoji_world.building.redraw import redrawn_scenes

    sprites = GarblingSprites(Path(world.sprites))
    redrawn = redrawn_scenes(base_model, sprites, READER_REDRAWN, training.seed)
    degrade = like_samples(base_model.vae, READER_DECODED)
    return train_reader(
        sprites, architecture, width, redrawn, degrade=degrade, **_arguments(training)
    )
