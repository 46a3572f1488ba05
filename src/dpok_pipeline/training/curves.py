"""Learning curves of a DPOK run: one row per iteration, and the best one so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


def read_metrics(metrics: dict[str, Tensor], rewards: Tensor | None) -> dict[str, float]:
    """An iteration's metrics as numbers, in one wait for the device.

    Args:
        metrics: device scalars of the updates.
        rewards: `(n,)` of the rollout; None where the iteration was skipped.
    """
    if rewards is None:
        return {}
    metrics = {
        "reward/mean": rewards.mean(),
        "reward/std": rewards.std(correction=0),
        "reward/min": rewards.min(),
        "reward/max": rewards.max(),
        **metrics,
    }
    values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def finite_mean(values: list[Tensor]) -> Tensor:
    """Mean without skipped updates' infinities; NaN where all are skipped."""
    stacked = torch.stack(values)
    return torch.where(stacked.isfinite(), stacked, torch.nan).nanmean()


class Curves:
    """What was logged so far."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] = {"reward/mean": -math.inf, "step": 0}

    def add(self, step: int, images_seen: int, metrics: dict[str, float]) -> None:
        """Write down an iteration."""
        self.rows.append({"step": step, "images_seen": images_seen, **metrics})
        if metrics.get("reward/mean", -math.inf) > self.best["reward/mean"]:
            self.best = {"reward/mean": metrics["reward/mean"], "step": step}

    def frame(self) -> pd.DataFrame:
        """One row per iteration; a skipped one has no rewards."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def summary(self) -> dict[str, Any]:
        """A few numbers of the run so far."""
        scored = [row for row in self.rows if "reward/mean" in row]
        return {
            "iterations": int(self.rows[-1]["step"]),
            "images": int(self.rows[-1]["images_seen"]),
            "skipped_updates": int(self.rows[-1]["grad/skipped_updates"]),
            "first_reward": scored[0]["reward/mean"],
            "last_reward": scored[-1]["reward/mean"],
            "best_reward": self.best["reward/mean"],
            "last_kl_noise_mse": scored[-1]["kl/noise_mse"],
            "seconds": sum(row["perf/seconds"] for row in self.rows),
            "checkpoint_seconds": sum(row["perf/checkpoint_seconds"] for row in self.rows),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.rows, self.best = state["rows"], state["best"]
