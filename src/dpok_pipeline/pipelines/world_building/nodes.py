"""Nodes of the world_building pipeline: one network each, and the measuring of all."""

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

# Share of a batch that passes the autoencoder, so that readers and reward know its look.
READER_DECODED, REWARD_DECODED = 1 / 6, 1 / 8
# Pictures, or pairs of them, that the base model draws over for a reader and for the reward.
READER_REDRAWN, REWARD_REDRAWN = 6144, 2048


def build_autoencoder(world: WorldConfig) -> AutoencoderKL:
    """Train the autoencoder."""
    from dpok_pipeline.emoji_world.building.autoencoder import train_autoencoder
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    return train_autoencoder(SpriteSheet(Path(world.sprites)), **_how(world.autoencoder))


def build_clip(world: WorldConfig) -> WorldClip:
    """Learn the tokenizer and train the CLIP."""
    from dpok_pipeline.emoji_world.building.clip import WorldClip, build_tokenizer, train_clip
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    tokenizer = build_tokenizer()
    sprites = SpriteSheet(Path(world.sprites))
    return WorldClip(train_clip(sprites, tokenizer, **_how(world.clip)), tokenizer)


def build_base_model(
    world: WorldConfig, autoencoder: AutoencoderKL, clip: WorldClip
) -> StableDiffusionPipeline:
    """Train the UNet on the large corpus, then on the filtered one."""
    from dpok_pipeline.emoji_world.building import base_model
    from dpok_pipeline.emoji_world.building.corpus import CAPTION_NOISE, FILTERED_NOISE
    from dpok_pipeline.emoji_world.sprites import SpriteSheet

    sprites, text_encoder = SpriteSheet(Path(world.sprites)), clip.text_encoder()
    unet = base_model.new_unet(text_encoder.config.hidden_size, world.unet.seed)
    for corpus, noise, how in (
        (world.corpus, CAPTION_NOISE, world.unet),
        (world.filtered_corpus, FILTERED_NOISE, world.unet_filtered),
    ):
        encoded = base_model.encode_corpus(
            corpus.pictures, sprites, autoencoder, clip.tokenizer, corpus.seed, noise
        )
        unet = base_model.train_unet(unet, encoded, text_encoder, clip.tokenizer, **_how(how))
    return base_model.assemble(unet, autoencoder, text_encoder, clip.tokenizer)


def build_judge(world: WorldConfig, base_model: StableDiffusionPipeline) -> SceneReader:
    """Train the judge."""
    return _reader(world, base_model, "residual", 128, world.judge)


def build_rater(world: WorldConfig, base_model: StableDiffusionPipeline) -> SceneReader:
    """Train the rater: another architecture, other seeds."""
    return _reader(world, base_model, "plain", 192, world.rater)


def build_reward(
    world: WorldConfig,
    clip: WorldClip,
    base_model: StableDiffusionPipeline,
    rater: SceneReader,
) -> ImageReward:
    """Start from the CLIP and captioning, rank renders and samples, normalise the scores."""
    from dpok_pipeline.emoji_world.building.readers import GarblingSprites, like_samples
    from dpok_pipeline.emoji_world.building.redraw import redrawn_pairs
    from dpok_pipeline.emoji_world.building.rewards import captioning, ranking
    from dpok_pipeline.emoji_world.building.rewards.samples import ranked_samples

    sprites = GarblingSprites(Path(world.sprites))
    samples = ranked_samples(base_model, rater, world.samples)
    redrawn = redrawn_pairs(base_model, sprites, REWARD_REDRAWN, world.reward_ranking.seed)
    model = ranking.new_reward(world.reward_captioning.seed)
    captioning.take_over_image_half(model, clip.model, sprites)
    captioning.pretrain_text_half(model, sprites, **_how(world.reward_captioning))
    degrade = like_samples(base_model.vae, REWARD_DECODED)
    pairs = samples.joined(redrawn)
    model = ranking.train_reward(
        model, sprites, pairs, degrade=degrade, **_how(world.reward_ranking)
    )
    return ranking.with_unit_spread(model, samples)


def build_aesthetic(world: WorldConfig, clip: WorldClip) -> Aesthetic:
    """Train the aesthetic score from the CLIP."""
    from dpok_pipeline.emoji_world.building.readers import GarblingSprites
    from dpok_pipeline.emoji_world.building.rewards.aesthetic import train_aesthetic

    sprites = GarblingSprites(Path(world.sprites))
    return train_aesthetic(clip, sprites, **_how(world.aesthetic))


def measure_world(world: WorldConfig, *networks: Any) -> dict[str, Any]:
    """Measure every figure of the model card on held-out scenes and samples."""
    from dpok_pipeline.emoji_world.building.measure import World, measure

    return measure(World(*networks), Path(world.sprites), world.samples)


def _how(training: TrainingConfig) -> dict[str, Any]:
    return training.model_dump()


def _reader(
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
    return train_reader(sprites, architecture, width, redrawn, degrade=degrade, **_how(training))
