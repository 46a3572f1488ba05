"""Train the autoencoder, diffusers' `AutoencoderKL` from 64x64x3 pixels to 16x16x4 latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from dpok_pipeline.emoji_world.building.corpus import noisy_scene, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scenes import Scene, SceneObject
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import (
    COLOUR_NAMES,
    IMAGE_SIZE,
    KIND_NAMES,
    NATURAL,
    PLACE_NAMES,
)

# Weight of the KL to a standard normal, which is only to keep the latents bounded.
LATENT_KL_WEIGHT = 1e-6
#: Scenes by which the scale of latents is measured.
SCALED_BY = 512


def new_autoencoder() -> AutoencoderKL:
    """Return the untrained network, of factor 4, with 4 latent channels and without attention."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )


def crowded_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene that is packed with objects of any size and colour.

    Ordinary scenes are mostly background; crowded ones show the autoencoder more of what is hard.
    """
    objects = []
    for _ in range(rng.integers(4, 9)):
        colour = NATURAL if rng.random() < 0.4 else str(rng.choice(COLOUR_NAMES))
        x, y = (int(v) for v in rng.integers(8, IMAGE_SIZE - 8, 2))
        size = int(rng.integers(19, 45))
        flipped = bool(rng.integers(2))
        objects.append(SceneObject(str(rng.choice(KIND_NAMES)), colour, x, y, size, flipped))
    return Scene(tuple(objects), str(rng.choice(PLACE_NAMES)))


def autoencoder_batch(size: int, sprites: SpriteSheet, rng: np.random.Generator) -> Tensor:
    """Draw pictures `(size, 3, 64, 64)` in [-1, 1], half of them crowded."""
    scenes = [crowded_scene(rng) for _ in range(size // 2)]
    scenes += [noisy_scene(sample_caption(rng), rng) for _ in range(size - len(scenes))]
    return to_tensor([render(scene, sprites, rng) for scene in scenes]) * 2 - 1


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the L1 of pixels, of their differences to the neighbours (edges) and of 4x4 means.

    The means are for the colours, whose error is small per pixel but large to the eye. Without them
    colours are learned last.
    """
    error = output.float() - target
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 0.5 * edges + functional.avg_pool2d(error, 4).abs().mean()


def train_autoencoder(
    sprites: SpriteSheet,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> AutoencoderKL:
    """Train the autoencoder and set its `scaling_factor` so that latents have unit variance."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = new_autoencoder()

    def loss_of_step(step: int) -> Tensor:
        images = autoencoder_batch(batch_size, sprites, rng)
        posterior = network.encode(images).latent_dist
        output = network.decode(posterior.sample()).sample
        kl = posterior.kl().float().mean()
        return reconstruction_loss(output, images) + LATENT_KL_WEIGHT * kl

    trained = train(
        network, loss_of_step, steps=steps, learning_rate=learning_rate,
        name="autoencoder", on_step=on_step,
    )  # fmt: skip
    set_scaling_factor(trained, sprites, rng)
    return trained


@torch.no_grad()
def set_scaling_factor(
    network: AutoencoderKL, sprites: SpriteSheet, rng: np.random.Generator
) -> None:
    """Register 1 / standard deviation of the latents, measured on ordinary scenes."""
    scenes = [noisy_scene(sample_caption(rng), rng) for _ in range(SCALED_BY)]
    images = to_tensor([render(scene, sprites, rng) for scene in scenes]) * 2 - 1
    latents = network.encode(images).latent_dist.mean
    network.register_to_config(scaling_factor=1.0 / latents.std().item())
