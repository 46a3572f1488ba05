"""Alarms for over-optimisation: a rollout whose images leave the range of the base model's.

A reward model is a stand-in for what is wanted. A policy that exploits its faults shows it in
what the reward does not look at: colours grow garish, pictures ugly, or all alike. The first
rollout is drawn by the base model itself (the LoRA begins as no change), so its images give the
range that is normal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Images `(n, 3, H, W)` in [0, 1] and their n prompts to one number per image, `(n,)`.
Measure = Callable[[Tensor, Sequence[str]], Tensor]


class Watch:
    """Means of a few measures over each rollout, against those of the first."""

    def __init__(self, measures: Mapping[str, Measure], deviations: float | None) -> None:
        """Watch from the next rollout on.

        Args:
            measures: by name.
            deviations: standard deviations of the first rollout's images by which a mean may
                leave theirs; None watches nothing.
        """
        self.measures = dict(measures) if deviations is not None else {}
        self.deviations = deviations or 0.0
        self.base: dict[str, list[float]] = {}  # name to mean and standard deviation
        self._means: dict[str, float] = {}
        self._rung: set[str] = set()

    @torch.no_grad()
    def look(self, images: Tensor, prompts: Sequence[str], iteration: int) -> None:
        """Measure a rollout; the first one becomes the range. Warns of a measure's first alarm."""
        values = {name: measure(images, prompts) for name, measure in self.measures.items()}
        self._means = {name: float(value.float().mean()) for name, value in values.items()}
        for name, value in values.items():
            if iteration == 1:
                deviation = float(value.float().std(correction=0))
                self.base[name] = [self._means[name], deviation]
            if self._rings(name) and name not in self._rung:
                self._rung.add(name)
                logger.warning(
                    "Alarm in iteration %d: %s is %.3g, the base model's images have %.3g ± %.3g. "
                    "The reward may be over-optimised: look at the samples, stop earlier, or "
                    "raise kl_weight",
                    iteration,
                    name,
                    self._means[name],
                    *self.base[name],
                )

    def metrics(self) -> dict[str, float]:
        """Of the last rollout: `images/NAME`, its mean, and `alarm/NAME`, 1 where it rings."""
        means = {f"images/{name}": mean for name, mean in self._means.items()}
        return {**means, **{f"alarm/{name}": float(self._rings(name)) for name in self._means}}

    def _rings(self, name: str) -> bool:
        # No range: a run whose first iterations were not watched, or one image per iteration.
        mean, deviation = self.base.get(name, (0.0, 0.0))
        return deviation > 0 and abs(self._means[name] - mean) > self.deviations * deviation

    def state_dict(self) -> dict[str, Any]:
        """The base model's range and what has rung, for a checkpoint."""
        return {"base": self.base, "rung": sorted(self._rung)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.base, self._rung = state["base"], set(state["rung"])
