"""Train the base model, a small Stable Diffusion, on captions that are partly wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from dpok_pipeline.emoji_world.building.clip import tokenize
from dpok_pipeline.emoji_world.building.corpus import noisy_scene, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.sprites import SpriteSheet

# Share of training captions that are replaced by the empty one, for classifier-free guidance.
EMPTY_CAPTIONS = 0.1


def new_unet(text_width: int, seed: int) -> UNet2DConditionModel:
    """Return the untrained UNet for 16x16x4 latents, with attention in two of three levels."""
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 72, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(1, 4, 4),
        norm_num_groups=8,
        cross_attention_dim=text_width,
    )


def new_scheduler() -> DDIMScheduler:
    """Return Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip


@torch.no_grad()
def encode_corpus(
    count: int,
    sprites: SpriteSheet,
    autoencoder: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    seed: int,
    noise: dict[str, float],
) -> tuple[Tensor, Tensor]:
    """Draw captioned pictures, and encode them.

    Args:
        count: Number of pictures.
        sprites: The sprites that pictures are made of.
        autoencoder: The trained autoencoder.
        tokenizer: The tokenizer of the captions.
        seed: Seed of captions and scenes.
        noise: Share of the pictures whose attribute is wrong, by attribute.

    Returns:
        Scaled latents `(count, 4, 16, 16)` and token ids `(count, length)`.
    """
    rng = np.random.default_rng(seed)
    latents, tokens = [], []
    for start in tqdm(range(0, count, 256), desc="encoding corpus", mininterval=5.0):
        captions = [sample_caption(rng) for _ in range(min(256, count - start))]
        scenes = [noisy_scene(caption, rng, noise) for caption in captions]
        images = to_tensor([render(scene, sprites, rng) for scene in scenes]) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16):
            latent = autoencoder.encode(images).latent_dist.mean
        latents.append(latent.float() * autoencoder.config.scaling_factor)
        tokens.append(tokenize(tokenizer, [caption.sentence() for caption in captions]))
    return torch.cat(latents), torch.cat(tokens)


def train_unet(
    unet: UNet2DConditionModel,
    corpus: tuple[Tensor, Tensor],
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> UNet2DConditionModel:
    """Train the UNet to predict noise (ε) on encoded pictures, and return the averaged weights.

    Args:
        unet: A fresh UNet, or one that was trained on an earlier corpus.
        corpus: Scaled latents `(n, 4, 16, 16)`, and their captions' token ids `(n, length)`.
        text_encoder: The frozen text encoder.
        tokenizer: The tokenizer, for the empty caption.
        steps: Number of updates.
        batch_size: Pictures per update.
        learning_rate: Peak learning rate.
        seed: Seed of batches, noise and timesteps.
        on_step: Function to call after every update; None for no call.
    """
    unet.train().requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    latents, tokens = corpus
    # Captions recur: each different one is encoded once, and found by its number.
    captions, caption_of = torch.unique(tokens, dim=0, return_inverse=True)
    with torch.no_grad():
        texts = torch.cat([text_encoder(part).last_hidden_state for part in captions.split(256)])
        empty = text_encoder(tokenize(tokenizer, [""])).last_hidden_state[0]
    alphas = new_scheduler().alphas_cumprod

    def loss_of_step(step: int) -> Tensor:
        rows = torch.randint(len(latents), (batch_size,), generator=generator)
        condition = texts[caption_of[rows]]
        dropped = torch.rand(batch_size, generator=generator) < EMPTY_CAPTIONS
        condition[dropped] = empty
        noise = torch.randn(latents[rows].shape, generator=generator)
        times = torch.randint(len(alphas), (batch_size,), generator=generator)
        alpha = alphas[times].view(-1, 1, 1, 1)  # (b, 1, 1, 1), for latents (b, 4, 16, 16)
        noisy = alpha.sqrt() * latents[rows] + (1 - alpha).sqrt() * noise
        prediction = unet(noisy, times, encoder_hidden_states=condition).sample
        return functional.mse_loss(prediction.float(), noise)

    return train(
        unet, loss_of_step, steps=steps, learning_rate=learning_rate, name="unet", on_step=on_step
    )


def assemble(
    unet: UNet2DConditionModel,
    autoencoder: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """Return the parts as a Stable Diffusion pipeline, which can save itself as a folder.

    The UNet's weights are kept in half precision, because the world has to fit a repository.
    Loading turns them into float32 again.
    """
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=copy.deepcopy(unet).half(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
