"""Training of the judge and the rater: read scenes off clean, degraded and garbled pictures.

Neither sees a sample of the base model. What samples look like is imitated: renders drawn over by
the base model (`redraw.py`), autoencoder reconstructions, blur, noise, stains, and objects that are
half one kind or colour and half another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageChops
from torch import Tensor
from torch.nn import functional

from dpok_pipeline.emoji_world.building.corpus import another, noisy_scene, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import (
    GARBLED,
    MIXED,
    READ_COLORS,
    READ_KINDS,
    Architecture,
    Reading,
    SceneReader,
)
from dpok_pipeline.emoji_world.scenes import Scene, arrange
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import (
    COLOR_NAMES,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
)

NO_COLOR = -100  # cross-entropy's "no answer here"
REDRAWN = 1 / 3  # share of a batch that the base model has drawn over
STAINED = 0.25  # share of the sprites that get a small stain
Labels = tuple[Tensor, Tensor, Tensor]
Degrade = Callable[[Tensor, np.random.Generator], Tensor]


class GarblingSprites(SpriteSheet):
    """A sprite sheet that also draws the kind `GARBLED` and the colour `MIXED`.

    Attributes:
        rng: Source of everything that is new at every call.
        stained: Share of the other sprites that get a small stain, as samples have them: a person
            still names their colour.
    """

    rng: np.random.Generator
    stained: float = 0.0

    def get(self, kind: str, color: str, size: int, flipped: bool = False) -> Image.Image:
        """Return a sprite; garbled, mixed and stained ones are new at every call."""
        if kind == GARBLED:
            return self._garbled(color, size, flipped)
        if color == MIXED:
            one, two = self.rng.choice((NATURAL, *COLOR_NAMES), 2, replace=False)
            return self._stain(kind, (str(one), str(two)), size, flipped, (0.40, 0.60))
        if self.stained and self.rng.random() < self.stained:
            stain = another((NATURAL, *COLOR_NAMES), color, self.rng)
            return self._stain(kind, (color, stain), size, flipped, (0.03, 0.30))
        return super().get(kind, color, size, flipped)

    def _garbled(self, color: str, size: int, flipped: bool) -> Image.Image:
        """Two kinds spliced or blended, one kind seen double, or one melted to a blob."""
        kinds = self.rng.choice(KIND_NAMES, 2, replace=False)
        color = NATURAL if color == MIXED else color
        one, two = (super(GarblingSprites, self).get(str(k), color, size, flipped) for k in kinds)
        form = self.rng.choice(["splice", "blend", "double", "melt"], p=[0.4, 0.2, 0.2, 0.2])
        if form == "blend":
            return Image.blend(one, two, 0.5)
        if form == "double":
            shift = tuple(int(s) for s in self.rng.choice([-1, 1], 2) * size // 4)
            return Image.blend(one, ImageChops.offset(one, *shift), 0.5)
        if form == "melt":
            return one.resize((4, 4), Image.Resampling.BOX).resize((size, size))
        mask = np.zeros((size, size), dtype=np.uint8)
        if self.rng.random() < 0.5:
            mask[:, : size // 2] = 255
        else:
            mask[: size // 2] = 255
        return Image.composite(one, two, Image.fromarray(mask))

    def _stain(
        self, kind: str, colors: tuple[str, str], size: int, flipped: bool,
        share: tuple[float, float],
    ) -> Image.Image:  # fmt: skip
        """The first colour with a soft-edged patch of the second, whose share is drawn."""
        one, two = (super(GarblingSprites, self).get(kind, c, size, flipped) for c in colors)
        coarse = Image.fromarray(self.rng.normal(size=(4, 4)).astype(np.float32))
        field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
        edge = np.quantile(field, 1 - self.rng.uniform(*share))
        mask = np.clip((field - edge) * 255 + 128, 0, 255).astype(np.uint8)
        return Image.composite(two, one, Image.fromarray(mask))


def random_scene(rng: np.random.Generator) -> Scene:
    """Return a scene for reading: half as captions have them, half anything, some spoilt."""
    if rng.random() < 0.5:
        scene = noisy_scene(sample_caption(rng), rng)
    else:
        kinds = rng.choice(KIND_NAMES, size=rng.integers(1, 4))
        color = NATURAL if rng.random() < 0.5 else str(rng.choice(COLOR_NAMES))
        things = [(str(rng.choice(kinds)), color) for _ in range(rng.integers(1, MAX_COUNT + 1))]
        scene = arrange(things, str(rng.choice(PLACE_NAMES)), rng)
    spoilt = rng.random()
    if spoilt < 0.30:
        which = int(rng.integers(len(scene.objects)))
        objects = list(scene.objects)
        old = objects[which]
        objects[which] = replace(old, kind=GARBLED) if spoilt < 0.15 else replace(old, color=MIXED)
        scene = Scene(tuple(objects), scene.place)
    return scene


def labels_of(scenes: list[Scene]) -> Labels:
    """Return what a reader should say of scenes, as int64.

    Returns:
        Counts (b, kinds), each kind's colour (b, kinds; `NO_COLOR` where absent or mixed), and
        place (b,).
    """
    counts = torch.zeros(len(scenes), len(READ_KINDS), dtype=torch.long)
    colors = torch.full((len(scenes), len(READ_KINDS)), NO_COLOR)
    for row, scene in enumerate(scenes):
        for item in scene.objects:
            counts[row, READ_KINDS.index(item.kind)] += 1
        for kind in {item.kind for item in scene.objects} - {GARBLED}:
            seen = {item.color for item in scene.objects if item.kind == kind}
            if len(seen) == 1:
                colors[row, READ_KINDS.index(kind)] = READ_COLORS.index(seen.pop())
    places = torch.tensor([PLACE_NAMES.index(scene.place) for scene in scenes])
    return counts, colors, places


def reading_loss(reading: Reading, labels: Labels) -> Tensor:
    """Sum of the three heads' cross-entropies; counts are summed over the kinds."""
    counts, colors, places = labels
    count_loss = functional.nll_loss(
        reading.counts.flatten(0, 1), counts.flatten(), reduction="sum"
    )
    color_loss = functional.nll_loss(
        reading.colors.flatten(0, 1), colors.flatten(), ignore_index=NO_COLOR
    )
    return count_loss / len(places) + color_loss + functional.nll_loss(reading.place, places)


def blur_and_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Degrade a batch: a third blurred through half resolution, a third noisy."""
    degraded = images.clone()
    third = len(images) // 3
    if third:
        small = functional.interpolate(images[:third], scale_factor=0.5, mode="area")
        degraded[:third] = functional.interpolate(small, scale_factor=2, mode="bilinear")
        noise = torch.from_numpy(rng.normal(0, 0.06, images[third : 2 * third].shape)).float()
        degraded[third : 2 * third] = (images[third : 2 * third] + noise).clamp(0, 1)
    return degraded


def like_samples(autoencoder: AutoencoderKL, share: float) -> Degrade:
    """Return a degradation: `blur_and_noise`, and the last `share` through the autoencoder.

    Its latents get up to a quarter of their deviation as noise: so a sample of a diffusion model
    goes wrong.
    """

    @torch.no_grad()
    def degrade(images: Tensor, rng: np.random.Generator) -> Tensor:
        images = blur_and_noise(images, rng)
        count = int(len(images) * share)
        latents = autoencoder.encode(images[-count:] * 2 - 1).latent_dist.mean
        strength = latents.std() * float(rng.uniform(0, 0.25))
        decoded = autoencoder.decode(latents + torch.randn_like(latents) * strength).sample
        images[-count:] = (decoded.float() / 2 + 0.5).clamp(0, 1)
        return images

    return degrade


def train_reader(
    sprites: GarblingSprites,
    architecture: Architecture,
    width: int,
    redrawn: tuple[Tensor, Labels],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    degrade: Degrade,
) -> SceneReader:
    """Train one reader on scenes of its own seed and return it.

    Args:
        sprites: Its `rng` is set; it stains while training lasts.
        architecture: Of the trunk.
        width: Of the trunk's last layer.
        redrawn: Pictures that the base model drew over, (n, 3, 64, 64) uint8, and what they show;
            `REDRAWN` of every batch.
        steps: Number of updates.
        batch_size: Pictures per update.
        learning_rate: Peak learning rate.
        seed: Of weights and scenes.
        degrade: What happens to the freshly rendered pictures.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sprites.rng, sprites.stained = rng, STAINED
    reader = SceneReader(architecture, width)
    pictures, labels = redrawn
    kept = int(batch_size * REDRAWN)

    def loss_of_step(step: int) -> Tensor:
        scenes = [random_scene(rng) for _ in range(batch_size - kept)]
        images = to_tensor([render(scene, sprites, rng) for scene in scenes])
        rows = torch.from_numpy(rng.integers(len(pictures), size=kept))
        images = torch.cat([degrade(images, rng), pictures[rows].float() / 255])
        counts, colors, places = (
            torch.cat([new, old[rows]]) for new, old in zip(labels_of(scenes), labels, strict=True)
        )
        return reading_loss(reader(images), (counts, colors, places))

    name = f"reader ({architecture})"
    trained = train(reader, loss_of_step, steps=steps, learning_rate=learning_rate, name=name)
    sprites.stained = 0.0  # for whoever uses the sheet next
    return trained.eval()
