"""What every scorer is: a function of images and their prompts, one number per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores images; training maximises one, evaluation reports several."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score each image for its prompt.

        Args:
            images: `(b, 3, h, w)`, values in [0, 1], on any device.
            prompts: b prompts, one per image.

        Returns:
            `(b,)` float32, higher is better.
        """
        ...
