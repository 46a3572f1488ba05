"""A device that has room for few images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class SmallMemory:
    """A function that runs out of memory above `most` images.

    Attributes:
        refused: how many images each call had that failed.
    """

    def __init__(
        self, function: Callable[..., Any], most: int, count: Callable[..., int] | None = None
    ) -> None:
        """Wrap `function`; `count` says how many images its arguments are, else the first's."""
        self.function, self.most = function, most
        self.count = count or (lambda images, *rest: len(images))
        self.refused: list[int] = []

    def __call__(self, *arguments: Any) -> Any:
        found = self.count(*arguments)
        if found > self.most:
            self.refused.append(found)
            raise torch.OutOfMemoryError("no room")
        return self.function(*arguments)
