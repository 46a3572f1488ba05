"""The protocol of a scorer, the check of what one returns, and scorers made of other scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores images; training maximises one, evaluation reports several."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score each image for its prompt.

        Args:
            images: Images `(b, 3, h, w)` with values in [0, 1], on any device.
            prompts: The prompts of the b images.

        Returns:
            `(b,)` float32, higher is better.
        """
        ...


class BFloat16Scorer:
    """A scorer whose network runs in bfloat16 by autocast; its scores stay float32."""

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        """Wrap `scorer`, whose weights are on `device`."""
        self.scorer = scorer
        self.device = device

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score under autocast."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.scorer.score(images, prompts).float()


class WeightedSum:
    """The sum of weight × score over several scorers, in their order.

    Each scorer has a scale of its own (ImageReward about ±2, the aesthetic score 1 to 10, PickScore
    about 20), and the weights bring them together.
    """

    def __init__(self, parts: Mapping[str, tuple[float, Scorer]]) -> None:
        """Sum up scorers.

        Args:
            parts: Weight and scorer by a name, which messages use.
        """
        self.parts = dict(parts)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the weighted sum `(b,)` in float32, differentiable in `images` if its parts are.

        Raises:
            InputError: A part returned anything but one number per image.
        """
        total = torch.zeros(len(images), device=images.device)  # (b,)
        for name, (weight, scorer) in self.parts.items():
            scores = one_number_each(scorer.score(images, prompts), len(images), name)
            total = total + weight * scores.to(images.device)
        return total


def one_number_each(scores: Any, count: int, name: str) -> Tensor:
    """Return a scorer's result as `(count,)` float32.

    Args:
        scores: What the scorer returned: a tensor, an array, or a list of numbers.
        count: The number of images.
        name: The name of the scorer in messages.

    Raises:
        InputError: The result is anything but one number per image.
    """
    try:
        tensor = torch.as_tensor(scores, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"reward `{name}`: returned no numbers: {error}") from error
    if tensor.shape != (count,):
        raise InputError(
            f"reward `{name}`: returned shape {tuple(tensor.shape)} for {count} "
            f"images; return one number per image, shape ({count},)"
        )
    return tensor
