"""Train the judge and the rater to read scenes off clean, degraded and garbled pictures.

Neither sees a sample of the base model. What samples look like is imitated by renders that the base
model has drawn over (`redraw.py`), by autoencoder reconstructions, blur, noise and stains, and by
objects that are half of one kind or colour and half of another.
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
    READ_COLOURS,
    READ_KINDS,
    Architecture,
    Reading,
    SceneReader,
)
from dpok_pipeline.emoji_world.scenes import Scene, arrange
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import (
    COLOUR_NAMES,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
)

NO_COLOUR = -100  # label that cross-entropy leaves out
REDRAWN = 1 / 3  # share of a batch that the base model has drawn over
STAINED = 0.25  # share of the sprites that get a small stain
Labels = tuple[Tensor, Tensor, Tensor]
Degrade = Callable[[Tensor, np.random.Generator], Tensor]


class GarblingSprites(SpriteSheet):
    """A sprite sheet that also draws the kind `GARBLED` and the colour `MIXED`.

    Attributes:
        rng: Source of everything that is random in a sprite.
        stained: Share of the other sprites that get a small stain like those of samples. A person
            would still name their colour.
    """

    rng: np.random.Generator
    stained: float = 0.0

    def get(self, kind: str, colour: str, size: int, flipped: bool = False) -> Image.Image:
        """Return a sprite; garbled, mixed and stained ones are drawn anew at every call."""
        if kind == GARBLED:
            return self._garbled(colour, size, flipped)
        if colour == MIXED:
            one, two = self.rng.choice((NATURAL, *COLOUR_NAMES), 2, replace=False)
            return self._stain(kind, (str(one), str(two)), size, flipped, (0.40, 0.60))
        if self.stained and self.rng.random() < self.stained:
            stain = another((NATURAL, *COLOUR_NAMES), colour, self.rng)
            return self._stain(kind, (colour, stain), size, flipped, (0.03, 0.30))
        return super().get(kind, colour, size, flipped)

    def _garbled(self, colour: str, size: int, flipped: bool) -> Image.Image:
        """Draw two kinds spliced or blended, one kind seen double, or one melted to a blob."""
        kinds = self.rng.choice(KIND_NAMES, 2, replace=False)
        colour = NATURAL if colour == MIXED else colour
        one, two = (super(GarblingSprites, self).get(str(k), colour, size, flipped) for k in kinds)
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
        self, kind: str, colours: tuple[str, str], size: int, flipped: bool,
        share: tuple[float, float],
    ) -> Image.Image:  # fmt: skip
        """Draw the first colour with a soft-edged patch of the second, of a random share."""
        one, two = (super(GarblingSprites, self).get(kind, c, size, flipped) for c in colours)
        coarse = Image.fromarray(self.rng.normal(size=(4, 4)).astype(np.float32))
        # A smooth random field, of which the part above a quantile is the patch.
        field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
        edge = np.quantile(field, 1 - self.rng.uniform(*share))
        mask = np.clip((field - edge) * 255 + 128, 0, 255).astype(np.uint8)
        return Image.composite(two, one, Image.fromarray(mask))


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene for reading, half as captions have them and half anything, some spoilt."""
    if rng.random() < 0.5:
        scene = noisy_scene(sample_caption(rng), rng)
    else:
        kinds = rng.choice(KIND_NAMES, size=rng.integers(1, 4))
        colour = NATURAL if rng.random() < 0.5 else str(rng.choice(COLOUR_NAMES))
        things = [(str(rng.choice(kinds)), colour) for _ in range(rng.integers(1, MAX_COUNT + 1))]
        scene = arrange(things, str(rng.choice(PLACE_NAMES)), rng)
    chance = rng.random()
    if chance < 0.30:  # One object is garbled or of mixed colours.
        position = int(rng.integers(len(scene.objects)))
        objects = list(scene.objects)
        spoilt = objects[position]
        objects[position] = (
            replace(spoilt, kind=GARBLED) if chance < 0.15 else replace(spoilt, colour=MIXED)
        )
        scene = Scene(tuple(objects), scene.place)
    return scene


def labels_of(scenes: list[Scene]) -> Labels:
    """Return what a reader should say of b scenes, as int64.

    Returns:
        The number of each kind, `(b, kinds)`; the colour of each kind, `(b, kinds)`, which is
        `NO_COLOUR` if the kind is absent or its objects differ in colour; the place, `(b,)`.
    """
    counts = torch.zeros(len(scenes), len(READ_KINDS), dtype=torch.long)
    colours = torch.full((len(scenes), len(READ_KINDS)), NO_COLOUR)
    for row, scene in enumerate(scenes):
        for item in scene.objects:
            counts[row, READ_KINDS.index(item.kind)] += 1
        for kind in {item.kind for item in scene.objects} - {GARBLED}:
            of_kind = {item.colour for item in scene.objects if item.kind == kind}
            if len(of_kind) == 1:
                colours[row, READ_KINDS.index(kind)] = READ_COLOURS.index(of_kind.pop())
    places = torch.tensor([PLACE_NAMES.index(scene.place) for scene in scenes])
    return counts, colours, places


def reading_loss(reading: Reading, labels: Labels) -> Tensor:
    """Return the sum of the three heads' cross-entropies, counts summed over the kinds."""
    counts, colours, places = labels
    # Each (picture, kind) is a row of its own: (b × kinds, choices).
    count_loss = functional.nll_loss(
        reading.counts.flatten(0, 1), counts.flatten(), reduction="sum"
    )
    colour_loss = functional.nll_loss(
        reading.colours.flatten(0, 1), colours.flatten(), ignore_index=NO_COLOUR
    )
    return count_loss / len(places) + colour_loss + functional.nll_loss(reading.place, places)


def blur_and_noise(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur a third of a batch through half resolution, and add noise to another third."""
    degraded = images.clone()
    third = len(images) // 3
    if third:
        small = functional.interpolate(images[:third], scale_factor=0.5, mode="area")
        degraded[:third] = functional.interpolate(small, scale_factor=2, mode="bilinear")
        noise = torch.from_numpy(rng.normal(0, 0.06, images[third : 2 * third].shape)).float()
        degraded[third : 2 * third] = (images[third : 2 * third] + noise).clamp(0, 1)
    return degraded


def like_samples(autoencoder: AutoencoderKL, share: float) -> Degrade:
    """Return a degradation by `blur_and_noise` that sends some pictures through the autoencoder.

    Their latents get up to a quarter of their deviation as noise, because this is how samples of a
    diffusion model go wrong.

    Args:
        autoencoder: The trained autoencoder.
        share: Share of a batch that goes through it, taken from the end.
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
    """Train one reader on scenes of its own, and return it.

    Args:
        sprites: The sprite sheet, whose `rng` is set, and which stains while training lasts.
        architecture: Kind of the reader's trunk.
        width: Width of the trunk's last layer.
        redrawn: Pictures `(n, 3, 64, 64)` uint8 that the base model has drawn over, and what they
            show. They are the share `REDRAWN` of every batch.
        steps: Number of updates.
        batch_size: Pictures per update.
        learning_rate: Peak learning rate.
        seed: Seed of weights and scenes.
        degrade: Degradation of the freshly rendered pictures.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sprites.rng, sprites.stained = rng, STAINED
    reader = SceneReader(architecture, width)
    pictures, labels = redrawn
    redrawn_count = int(batch_size * REDRAWN)

    def loss_of_step(step: int) -> Tensor:
        scenes = [random_scene(rng) for _ in range(batch_size - redrawn_count)]
        images = to_tensor([render(scene, sprites, rng) for scene in scenes])
        rows = torch.from_numpy(rng.integers(len(pictures), size=redrawn_count))
        images = torch.cat([degrade(images, rng), pictures[rows].float() / 255])
        counts, colours, places = (
            torch.cat([new, old[rows]]) for new, old in zip(labels_of(scenes), labels, strict=True)
        )
        return reading_loss(reader(images), (counts, colours, places))

    name = f"reader ({architecture})"
    trained = train(reader, loss_of_step, steps=steps, learning_rate=learning_rate, name=name)
    sprites.stained = 0.0  # as it was for the next user of the sheet
    return trained.eval()
