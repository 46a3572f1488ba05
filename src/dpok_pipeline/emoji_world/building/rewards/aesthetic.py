"""Train the aesthetic score, which rates clean pictures above damaged ones from 1 to 10.

Like LAION's it is a head on a CLIP's image embedding. Its ratings follow a rule, by which a clean
render gets 7 and the worst damage 2, and which the spread of people's ratings is added to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dpok_pipeline.emoji_world.building.clip import WorldClip
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.building.readers import GarblingSprites, random_scene
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.rewards.heads import ScoreHead
from dpok_pipeline.rewards.preprocessing import normalise

CLEAN_RATING, WORST_RATING = 7.0, 2.0
RATING_SPREAD = 0.3  # standard deviation of a rating about the rule, in points


class Aesthetic(nn.Module):
    """A CLIP and LAION's head on its image embedding.

    The world's CLIP has learned from captions alone, which say nothing of damage, and so it sees
    through damage. Its image half is therefore tuned along with the head; LAION's CLIP is not.
    """

    def __init__(self, clip: WorldClip) -> None:
        """Start from a copy of `clip` and an untrained head."""
        super().__init__()
        self.model = copy.deepcopy(clip.model)
        self.tokenizer = clip.tokenizer
        self.head = ScoreHead(clip.model.config.projection_dim, (128, 64, 32, 16))

    def forward(self, images: Tensor) -> Tensor:
        """Rate pictures `(b, 3, 64, 64)` in [0, 1] as `(b,)`."""
        pooled = self.model.vision_model(pixel_values=normalise(images)).pooler_output
        embedding = self.model.visual_projection(pooled).float()
        return self.head(functional.normalize(embedding, dim=-1))

    def save(self, folder: Path) -> None:
        """Write `head.safetensors`, and the CLIP in the folder `clip`."""
        WorldClip(self.model, self.tokenizer).save_pretrained(folder / "clip")
        save_file(self.head.state_dict(), folder / "head.safetensors")

    @classmethod
    def from_folder(cls, folder: Path) -> Aesthetic:
        """Load what `save` wrote."""
        aesthetic = cls(WorldClip.from_pretrained(folder / "clip"))
        aesthetic.head.load_state_dict(load_file(folder / "head.safetensors"))
        return aesthetic.eval()


def blur(images: Tensor, severity: Tensor) -> Tensor:
    """Mix each picture with its quarter-resolution version by `severity`, `(b,)` in [0, 1]."""
    small = functional.interpolate(images, scale_factor=0.25, mode="area")
    coarse = functional.interpolate(small, size=images.shape[-2:], mode="bilinear")
    return images.lerp(coarse, severity.view(-1, 1, 1, 1))


def add_noise(images: Tensor, severity: Tensor) -> Tensor:
    """Add Gaussian noise of standard deviation 0.25 × severity."""
    return (images + 0.25 * severity.view(-1, 1, 1, 1) * torch.randn_like(images)).clamp(0, 1)


def garble(images: Tensor, severity: Tensor) -> Tensor:
    """Displace pixels by up to 6 × severity pixels along a smooth random field."""
    size = images.shape[-1]
    field = functional.interpolate(torch.randn(len(images), 2, 9, 9), size=size, mode="bicubic")
    theta = torch.eye(2, 3).expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    # From pixels to grid_sample's coordinates, in which the picture's side is 2.
    shift = field.permute(0, 2, 3, 1) * severity.view(-1, 1, 1, 1) * (2 * 6 / size)
    return functional.grid_sample(images, grid + shift, padding_mode="border", align_corners=False)


def over_saturate(images: Tensor, severity: Tensor) -> Tensor:
    """Push colours from their grey by up to 3 times, and all from mid-grey by up to 1.6 times."""
    strength = severity.view(-1, 1, 1, 1)
    grey = images.mean(1, keepdim=True)
    vivid = grey + (images - grey) * (1 + 2 * strength)
    return (0.5 + (vivid - 0.5) * (1 + 0.6 * strength)).clamp(0, 1)


DAMAGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (blur, add_noise, garble, over_saturate)


def rated_batch(
    size: int, sprites: GarblingSprites, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw pictures `(size, 3, 64, 64)`, a third of them clean, and their ratings `(size,)`."""
    scenes = [random_scene(rng) for _ in range(size)]
    images = to_tensor([render(scene, sprites, rng) for scene in scenes])
    severity = torch.from_numpy(rng.uniform(0.1, 1.0, size)).float()
    severity[: size // 3] = 0
    for kind, rows in enumerate(torch.arange(size // 3, size).chunk(len(DAMAGES))):
        images[rows] = DAMAGES[kind](images[rows], severity[rows])
    return images, CLEAN_RATING - (CLEAN_RATING - WORST_RATING) * severity


def train_aesthetic(
    clip: WorldClip,
    sprites: GarblingSprites,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Aesthetic:
    """Fit head and image half to noisy ratings by squared error; the text half stays as it is."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sprites.rng = rng
    aesthetic = Aesthetic(clip)
    aesthetic.model.text_model.requires_grad_(False)
    _initialise_head(aesthetic.head)

    def loss_of_step(step: int) -> Tensor:
        images, ratings = rated_batch(batch_size, sprites, rng)
        noisy = ratings + RATING_SPREAD * torch.randn_like(ratings)
        return functional.mse_loss(aesthetic(images).float(), noisy)

    name = "aesthetic"
    trained = train(aesthetic, loss_of_step, steps=steps, learning_rate=learning_rate, name=name)
    return trained.eval()


def _initialise_head(head: ScoreHead) -> None:
    """Let the head start at the ratings' mean, with gradients that reach the image half.

    Its five linear maps have no activation between them. With torch's usual initial weights they
    shrink an embedding of length 1 to almost nothing, and nothing is learned for a thousand
    updates.
    """
    maps = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(maps):
        nn.init.orthogonal_(layer.weight, gain=4.0 if number == 0 else 1.0)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(maps[-1].bias, (CLEAN_RATING + WORST_RATING) / 2)
