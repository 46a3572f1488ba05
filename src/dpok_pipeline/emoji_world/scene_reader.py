"""Networks that read a scene off a picture: the number of each kind, their colours, the place.

Two networks share these heads and see different data. The judge has residual convolutions, whose
features are pooled over the picture; the rater has plain ones, whose features keep their places.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.vocabulary import (
    COLOUR_NAMES,
    IMAGE_SIZE,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
)
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.networks import check_finite

GARBLED = "garbled"  # a drawn object that is of no kind, or a mixture of kinds
MIXED = "mixed"  # the colour of an object of which large parts differ in colour
READ_KINDS = (*KIND_NAMES, GARBLED)
READ_COLOURS = (NATURAL, *COLOUR_NAMES, MIXED)
Architecture = Literal["residual", "plain"]


class Reading(NamedTuple):
    """Log-probabilities of everything that is read off b pictures.

    Attributes:
        counts: Number of objects of each of `READ_KINDS`, `(b, kinds, MAX_COUNT + 1)`.
        colours: Colour of each kind if it is present, `(b, kinds, colours)`.
        place: Place of the scene, `(b, places)`.
    """

    counts: Tensor
    colours: Tensor
    place: Tensor

    def log_likelihood(self, row: int, caption: Caption) -> float:
        """Return the log-probability that picture `row` shows exactly what the caption says."""
        expected = dict.fromkeys(READ_KINDS, 0)
        expected[caption.kind] += caption.count
        if caption.other:
            expected[caption.other] += 1
        numbers = torch.tensor([min(expected[kind], MAX_COUNT) for kind in READ_KINDS])
        # The log-probabilities of the expected numbers, (kinds,), add up: all have to be right,
        # the kinds that must be absent among them.
        total = self.counts[row].gather(1, numbers[:, None]).sum()
        if caption.colour:
            kind = READ_KINDS.index(caption.kind)
            total = total + self.colours[row, kind, READ_COLOURS.index(caption.colour)]
        if caption.place:
            total = total + self.place[row, PLACE_NAMES.index(caption.place)]
        return float(total)


class SceneReader(nn.Module):
    """A trunk that turns 64x64 pictures into vectors, and three linear heads."""

    def __init__(self, architecture: Architecture, width: int) -> None:
        """Build the network with fresh weights.

        Args:
            architecture: Kind of trunk.
            width: Width of the trunk's last layer.
        """
        super().__init__()
        self.architecture, self.width = architecture, width
        trunk = _ResidualTrunk if architecture == "residual" else _PlainTrunk
        self.trunk = trunk(width)
        self.counts = nn.Linear(width, len(READ_KINDS) * (MAX_COUNT + 1))
        # The name is part of the saved weights.
        self.colors = nn.Linear(width, len(READ_KINDS) * len(READ_COLOURS))
        self.place = nn.Linear(width, len(PLACE_NAMES))

    def forward(self, images: Tensor) -> Reading:
        """Read pictures `(b, 3, 64, 64)` with values in [0, 1]."""
        features = self.trunk(images * 2 - 1)  # (b, width)
        # One softmax per kind: (b, kinds × choices) to (b, kinds, choices).
        counts = self.counts(features).unflatten(1, (len(READ_KINDS), MAX_COUNT + 1))
        colours = self.colors(features).unflatten(1, (len(READ_KINDS), len(READ_COLOURS)))
        return Reading(
            counts.float().log_softmax(-1),
            colours.float().log_softmax(-1),
            self.place(features).float().log_softmax(-1),
        )

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"architecture": self.architecture, "width": self.width}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def from_folder(cls, folder: Path) -> SceneReader:
        """Load what `save` wrote.

        Raises:
            InputError: A file is missing, truncated or of another shape, or a weight is not finite.
        """
        try:
            reader = cls(**json.loads((folder / "config.json").read_text()))
            reader.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: not a whole scene reader ({reason})") from error
        check_finite(reader.named_parameters(), folder)
        return reader.eval().requires_grad_(False)


class _ResidualTrunk(nn.Module):
    """Residual convolutions at three resolutions, pooled over the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 4, 4, stride=2, padding=1)
        self.stages = nn.Sequential(
            _Residual(width // 4), nn.Conv2d(width // 4, width // 2, 4, stride=2, padding=1),
            _Residual(width // 2), nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            _Residual(width), _Residual(width),
        )  # fmt: skip
        # A mean alone does not count: this layer turns means and maxima into numbers.
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU())

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))  # (b, width, 8, 8)
        # Mean and maximum over the picture, (b, 2 × width).
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        return self.head(pooled)


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class _PlainTrunk(nn.Module):
    """Four strided convolutions without shortcuts, whose features keep their places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 96)
        stages: list[nn.Module] = []
        for ins, outs in pairwise(widths):
            stages += [nn.Conv2d(ins, outs, 5, stride=2, padding=2), nn.GroupNorm(8, outs),
                       nn.SiLU()]  # fmt: skip
        cells = (IMAGE_SIZE // 16) ** 2
        self.layers = nn.Sequential(
            *stages, nn.Flatten(), nn.Linear(widths[-1] * cells, width), nn.SiLU()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
