"""Networks that read a scene off a picture: how many of each kind, their colours, the place.

Two different networks share these heads: the judge (residual convolutions, pooled over the
picture) and the rater (plain ones, read by place). They see different data.
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
    COLOR_NAMES,
    IMAGE_SIZE,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
)
from dpok_pipeline.errors import InputError

GARBLED = "garbled"  # something drawn that is no kind, or a mixture of kinds
MIXED = "mixed"  # the colour of an object that is large parts one colour and another
READ_KINDS = (*KIND_NAMES, GARBLED)
READ_COLORS = (NATURAL, *COLOR_NAMES, MIXED)
Architecture = Literal["residual", "plain"]


class Reading(NamedTuple):
    """Log-probabilities of everything read off b pictures.

    Attributes:
        counts: (b, kinds, MAX_COUNT + 1), how many of each of `READ_KINDS`.
        colors: (b, kinds, colours), the colour of each kind where it is present.
        place: (b, places).
    """

    counts: Tensor
    colors: Tensor
    place: Tensor

    def log_likelihood(self, row: int, caption: Caption) -> float:
        """Log-probability that picture `row` shows exactly what the caption says."""
        wanted = dict.fromkeys(READ_KINDS, 0)
        wanted[caption.kind] += caption.count
        if caption.other:
            wanted[caption.other] += 1
        numbers = torch.tensor([min(wanted[kind], MAX_COUNT) for kind in READ_KINDS])
        total = self.counts[row].gather(1, numbers[:, None]).sum()
        if caption.color:
            kind = READ_KINDS.index(caption.kind)
            total = total + self.colors[row, kind, READ_COLORS.index(caption.color)]
        if caption.place:
            total = total + self.place[row, PLACE_NAMES.index(caption.place)]
        return float(total)


class SceneReader(nn.Module):
    """A trunk, 64x64 pictures to one vector, and three linear heads.

    Args:
        architecture: Which trunk.
        width: Of its last layer.
    """

    def __init__(self, architecture: Architecture, width: int) -> None:
        super().__init__()
        self.architecture, self.width = architecture, width
        trunk = _ResidualTrunk if architecture == "residual" else _PlainTrunk
        self.trunk = trunk(width)
        self.counts = nn.Linear(width, len(READ_KINDS) * (MAX_COUNT + 1))
        self.colors = nn.Linear(width, len(READ_KINDS) * len(READ_COLORS))
        self.place = nn.Linear(width, len(PLACE_NAMES))

    def forward(self, images: Tensor) -> Reading:
        """Read (b, 3, 64, 64) pictures in [0, 1]."""
        features = self.trunk(images * 2 - 1)
        counts = self.counts(features).unflatten(1, (len(READ_KINDS), MAX_COUNT + 1))
        colors = self.colors(features).unflatten(1, (len(READ_KINDS), len(READ_COLORS)))
        return Reading(
            counts.float().log_softmax(-1),
            colors.float().log_softmax(-1),
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
            InputError: If a file is missing, truncated or of another shape.
        """
        try:
            reader = cls(**json.loads((folder / "config.json").read_text()))
            reader.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: not a whole scene reader ({reason})") from error
        return reader.eval().requires_grad_(False)


class _ResidualTrunk(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width // 4, 4, stride=2, padding=1)
        self.stages = nn.Sequential(
            _Residual(width // 4), nn.Conv2d(width // 4, width // 2, 4, stride=2, padding=1),
            _Residual(width // 2), nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            _Residual(width), _Residual(width),
        )  # fmt: skip
        # Counting needs more than a mean: a layer after the pooling turns sums into numbers.
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU())

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
        return self.head(pooled)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class _PlainTrunk(nn.Module):
    """Five strided convolutions without shortcuts; objects are told by where they lie."""

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
