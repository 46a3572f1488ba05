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

from dpok_pipeline.diffusion.sampler import are_finite

logger = logging.getLogger(__name__)

# Images `(n, 3, H, W)` in [0, 1] and their n prompts to one number per image, `(n,)`.
Measure = Callable[[Tensor, Sequence[str]], Tensor]


class Watch:
    """Means of a few measures over each rollout, against those of the first."""

    def __init__(self, measures: Mapping[str, Measure], deviations: float | None) -> None:
        """Watch from the next rollout on.

        Args:
            measures: The measures by their names.
            deviations: Standard deviations of the first rollout's images by which a mean may
                leave theirs; None means that nothing is watched.
        """
        self.measures = dict(measures) if deviations is not None else {}
        self.deviations = deviations or 0.0
        self.base: dict[str, list[float]] = {}  # name to mean and standard deviation
        self._means: dict[str, float] = {}
        self._alarmed: set[str] = set()

    @torch.no_grad()
    def look(self, images: Tensor, prompts: Sequence[str], iteration: int) -> None:
        """Measure a rollout, and warn where a measure leaves its range for the first time.

        Images that are not finite are left out: one of them would make every mean unknown, and
        that of the first rollout the range of the whole run.

        Args:
            images: The rollout's, `(n, 3, H, W)` in [0, 1].
            prompts: n texts.
            iteration: Its number, 1 first; the first rollout becomes the range.
        """
        whole = are_finite(images)  # (n,)
        prompts = [prompt for prompt, kept in zip(prompts, whole.tolist(), strict=True) if kept]
        images = images[whole]
        for name, measure in self.measures.items():
            values = measure(images, prompts).float() if prompts else images.new_zeros(0)
            values = values[values.isfinite()]
            self._means[name] = float(values.mean())  # NaN where there is none
            if iteration == 1 and len(values):
                self.base[name] = [self._means[name], float(values.std(correction=0))]
            if self._out_of_range(name) and name not in self._alarmed:
                self._alarmed.add(name)
                logger.warning(
                    "Alarm in iteration %d: %s is %.3g, the base model's images have %.3g ± %.3g. "
                    "The reward may be over-optimised: look at the samples, stop earlier, or "
                    "hold the policy closer to the base model",
                    iteration,
                    name,
                    self._means[name],
                    *self.base[name],
                )

    def metrics(self) -> dict[str, float]:
        """Return each measure's mean, `images/NAME`, and its alarm, `alarm/NAME`, 0 or 1."""
        means = {f"images/{name}": mean for name, mean in self._means.items()}
        alarms = {f"alarm/{name}": float(self._out_of_range(name)) for name in self._means}
        return {**means, **alarms}

    def _out_of_range(self, name: str) -> bool:
        # No range: a run whose first iterations were not watched, or one image per iteration.
        mean, deviation = self.base.get(name, (0.0, 0.0))
        return deviation > 0 and abs(self._means[name] - mean) > self.deviations * deviation

    def state_dict(self) -> dict[str, Any]:
        """Return the base model's range and the alarms so far, for a checkpoint."""
        return {"base": self.base, "alarmed": sorted(self._alarmed)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.base, self._alarmed = state["base"], set(state["alarmed"])
