"""Scorers made of other things: a plain function, another precision, a weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.protocol import Scorer


class FunctionScorer:
    """A user's function as a scorer."""

    def __init__(self, function: Callable[[Tensor, Sequence[str]], Any], name: str) -> None:
        """Wrap `function(images, prompts)`, called `name` in messages."""
        self.function = function
        self.name = name

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Call the function; anything that holds b numbers is taken.

        Raises:
            InputError: it returned anything but one number per image.
        """
        return one_number_each(self.function(images, prompts), len(images), self.name)


class BFloat16Scorer:
    """Runs another scorer's network in bfloat16 by autocast; scores stay float32."""

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        """Wrap `scorer`, whose weights are on `device`."""
        self.scorer = scorer
        self.device = device

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score under autocast."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.scorer.score(images, prompts).float()


class WeightedSum:
    """Σ weight × score over several scorers, in the order given.

    The scorers have scales of their own (ImageReward about ±2, the aesthetic score 1 to 10,
    PickScore about 20): the weights are where they are brought together.
    """

    def __init__(self, parts: Mapping[str, tuple[float, Scorer]]) -> None:
        """Sum `parts`, name → (weight, scorer); the names are for messages."""
        self.parts = dict(parts)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Weighted sum `(b,)` float32, differentiable in `images` if the parts are.

        Raises:
            InputError: a part returned anything but one number per image.
        """
        total = torch.zeros(len(images), device=images.device)
        for name, (weight, scorer) in self.parts.items():
            scores = one_number_each(scorer.score(images, prompts), len(images), name)
            total = total + weight * scores.to(images.device)
        return total


def one_number_each(scores: Any, count: int, name: str) -> Tensor:
    """What a scorer returned, as `(count,)` float32.

    Raises:
        InputError: it is not that.
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
