"""Draw samples of the base model by the project's sampler, as 8-bit pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.emoji_world.building.config import SamplesConfig
from dpok_pipeline.emoji_world.building.corpus import sample_caption
from dpok_pipeline.emoji_world.building.rewards.ranking import Pairs, rank_samples
from dpok_pipeline.emoji_world.scene_reader import SceneReader


def draw_captions(count: int, seed: int) -> list[str]:
    """Draw sentences like those of the corpus."""
    rng = np.random.default_rng(seed)
    return [sample_caption(rng).sentence() for _ in range(count)]


def sample_pictures(
    base_model: Path, prompts: Sequence[str], sampling: SamplingConfig, seed: int
) -> Tensor:
    """Draw one sample per prompt, `(n, 3, 64, 64)` uint8."""
    model = load_base_model(describe_base_model(base_model), "cpu", "bfloat16")
    pictures = []
    for start in tqdm(range(0, len(prompts), 128), desc="sampling", mininterval=5.0):
        part = list(prompts[start : start + 128])
        indices = range(start, start + len(part))
        latents = sample(model, part, sampling, seed=seed, indices=indices, batch_size=128).latents
        pictures.append((decode(model, latents) * 255).round().to(torch.uint8))
    return torch.cat(pictures)


def ranked_samples(
    base_model: StableDiffusionPipeline, rater: SceneReader, config: SamplesConfig
) -> Pairs:
    """Draw several samples per caption, and let the rater rank every two."""
    prompts = draw_captions(config.captions, config.seed)
    repeated = [prompt for prompt in prompts for _ in range(config.images_per_caption)]
    with tempfile.TemporaryDirectory() as folder:
        base_model.save_pretrained(folder)
        pictures = sample_pictures(Path(folder), repeated, config.sampling(), config.seed)
    # (captions × images, 3, 64, 64) to (captions, images, 3, 64, 64)
    grouped = pictures.unflatten(0, (config.captions, config.images_per_caption))
    return rank_samples(prompts, grouped, rater, config.seed)
