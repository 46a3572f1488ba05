"""Where training reports to while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Tracker(Protocol):
    """Receives metrics and sample images; MLflow's is in the Kedro part."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Report metrics named `family/name` at an iteration or update."""

    def log_images(self, key: str, images: Tensor, step: int) -> None:
        """Report `(n, 3, H, W)` images in [0, 1]."""


class NullTracker:
    """Reports to nobody."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def log_images(self, key: str, images: Tensor, step: int) -> None:
        """Do nothing."""
