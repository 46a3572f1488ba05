"""Let the base model draw over renders, so that pictures of known content look like samples.

A render is noised part of the way and denoised by the base model without a prompt (SDEdit, Meng et
al. 2022). The result has the smears and impure colours of a sample, but still shows what was
rendered. Readers learn from such pictures what samples look like, and no sample is ever labelled.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.emoji_world.building.clip import tokenize
from dpok_pipeline.emoji_world.building.loop import to_tensor
from dpok_pipeline.emoji_world.building.readers import (
    GarblingSprites,
    Labels,
    labels_of,
    random_scene,
)
from dpok_pipeline.emoji_world.building.rewards.ranking import Pairs, render_pairs
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import GARBLED
from dpok_pipeline.emoji_world.scenes import Scene

DDIM_STEPS = 20
# The most steps that a picture is noised by; from about eight on, objects change.
MOST_STEPS = 7


def redrawn_scenes(
    base_model: StableDiffusionPipeline, sprites: GarblingSprites, count: int, seed: int
) -> tuple[Tensor, Labels]:
    """Draw over the renders of random scenes.

    None has a garbled object, which the base model could turn into a whole one.

    Returns:
        The pictures `(count, 3, 64, 64)` uint8, and what they show.
    """
    rng = np.random.default_rng(seed)
    sprites.rng = rng
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(rng)
        if all(item.kind != GARBLED for item in scene.objects):
            scenes.append(scene)
    images = to_tensor([render(scene, sprites, rng) for scene in scenes])
    return redraw(base_model, images, seed), labels_of(scenes)


def redrawn_pairs(
    base_model: StableDiffusionPipeline, sprites: GarblingSprites, count: int, seed: int
) -> Pairs:
    """Draw over pairs of a right and a wrong render, both with the same noise."""
    rng = np.random.default_rng(seed)
    sprites.rng = rng
    prompts, right, wrong = render_pairs(count, sprites, lambda images, _: images, rng)
    return Pairs(prompts, redraw(base_model, right, seed), redraw(base_model, wrong, seed))


@torch.no_grad()
def redraw(
    base_model: StableDiffusionPipeline, images: Tensor, seed: int, batch_size: int = 64
) -> Tensor:
    """Draw over pictures, each batch from its own depth of one to `MOST_STEPS` steps.

    Args:
        base_model: The trained base model, whose UNet is turned into float32.
        images: Pictures `(n, 3, 64, 64)` in [0, 1].
        seed: Seed of depths and noise.
        batch_size: Pictures that go through the network at once.

    Returns:
        The pictures drawn over, `(n, 3, 64, 64)` uint8.
    """
    generator = torch.Generator().manual_seed(seed)
    base_model.unet.float()
    scheduler = DDIMScheduler.from_config(base_model.scheduler.config)
    scheduler.set_timesteps(DDIM_STEPS)
    empty = base_model.text_encoder(tokenize(base_model.tokenizer, [""])).last_hidden_state
    redrawn = []
    for part in tqdm(images.split(batch_size), desc="redrawing", mininterval=5.0):
        depth = int(torch.randint(1, MOST_STEPS + 1, (), generator=generator))
        with torch.autocast("cpu", torch.bfloat16):
            redrawn.append(_redraw_batch(base_model, scheduler, part, depth, empty, generator))
    return torch.cat(redrawn)


def _redraw_batch(
    base_model: StableDiffusionPipeline,
    scheduler: DDIMScheduler,
    images: Tensor,
    depth: int,
    empty: Tensor,
    generator: torch.Generator,
) -> Tensor:
    vae = base_model.vae
    latents = vae.encode(images * 2 - 1).latent_dist.mean.float() * vae.config.scaling_factor
    times = scheduler.timesteps[-depth:]  # the last steps, those of the least noise
    noise = torch.randn(latents.shape, generator=generator)
    latents = scheduler.add_noise(latents, noise, times[:1])
    condition = empty.expand(len(images), -1, -1)  # (b, tokens, dim)
    for time in times:
        prediction = base_model.unet(latents, time, encoder_hidden_states=condition).sample
        latents = scheduler.step(prediction.float(), time, latents).prev_sample
    decoded = vae.decode(latents / vae.config.scaling_factor).sample.float()
    return ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
