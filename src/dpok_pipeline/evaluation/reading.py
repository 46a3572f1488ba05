"""What tables, figures and sentences read off a comparison, as `comparison.compare` returns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import METRICS, SPLIT_LABELS, MethodLabel

#: Estimates by metric and quantity.
Cells = dict[tuple[str, str], Interval]

#: What is shown first of every prompt.
MAIN_METRICS = ("reward", "image_reward", "aesthetic", "judge")


class Unit(NamedTuple):
    """An experiment, or all of them together, summed up.

    Attributes:
        prompts: The prompt, or what the mean is over, by split.
        cells: Estimates by split.
    """

    prompts: dict[str, str]
    cells: dict[str, Cells]

    @property
    def title(self) -> str:
        """What it is about: the mean, or each split's prompt."""
        named = set(self.prompts.values())
        if len(named) == 1:
            return named.pop()
        return " · ".join(f"{split}: {prompt}" for split, prompt in self.prompts.items())


def estimates(part: pd.DataFrame) -> Cells:
    """Read one prompt's rows of a comparison as a table (metric, quantity) → estimate."""
    columns = ["metric", "quantity", *Interval._fields]
    return {
        (str(name), str(quantity)): Interval(float(mean), float(low), float(high))
        for name, quantity, mean, low, high in part[columns].itertuples(index=False)
    }


def overall(comparison: pd.DataFrame, split: str) -> Cells:
    """Read the estimates of a whole split: the mean over all its prompts, or its only prompt."""
    rows = comparison[comparison["split"] == split]
    means = rows[rows["prompt_id"] == "mean"]
    joint = means[means["experiment"] == "all"]
    part = next((part for part in (joint, means) if not part.empty), rows)
    several = len(part[["experiment", "prompt_id"]].drop_duplicates()) > 1
    return {} if several else estimates(part)


def units(comparison: pd.DataFrame, *, joint: bool = True) -> list[Unit]:
    """Sum up a comparison: all experiments together, or each by itself.

    Args:
        comparison: As `comparison.compare` returns it.
        joint: Whether the mean over all experiments, if there is one, stands for them.

    Returns:
        One unit for the mean over all, or one per experiment, of its only prompt or its mean.
    """
    rows = comparison[comparison["experiment"] == "all"]
    if joint and not rows.empty:
        return [_unit(rows)]
    single = comparison[comparison["experiment"] != "all"]
    return [_unit(part) for _, part in single.groupby("experiment", sort=False)]


def _unit(rows: pd.DataFrame) -> Unit:
    parts = {split: rows[rows["split"] == split] for split in splits(rows)}
    return Unit(
        {split: str(part["prompt"].iloc[-1]) for split, part in parts.items()},  # means come last
        {split: overall(part, split) for split, part in parts.items()},
    )


def splits(comparison: pd.DataFrame) -> list[str]:
    """List the splits that a comparison has, training first."""
    return [split for split in SPLIT_LABELS if split in set(comparison["split"])]


def present(comparison: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """List those of `metrics` that the comparison has."""
    known = set(comparison["metric"])
    return [name for name in metrics if name in known]


def main_metrics(comparison: pd.DataFrame) -> list[str]:
    """List what is shown first: the reward, the usual scores, every scorer of the user's own."""
    users_own = [str(name) for name in comparison["metric"].unique() if name not in METRICS]
    return [*present(comparison, MAIN_METRICS), *users_own]


def measured(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> list[MethodLabel]:
    """List those of the methods that the comparison has, in their order."""
    quantities = set(comparison["quantity"])
    return [method for method in methods if method.name in quantities]


def measured_contrasts(
    comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> list[tuple[MethodLabel, MethodLabel]]:
    """List the pairs of the methods whose differences the comparison has, in its order."""
    pairs = {f"{a.name} - {b.name}": (a, b) for a in methods for b in methods if a != b}
    return [pairs[name] for name in comparison["quantity"].unique() if name in pairs]


def level_metrics(comparison: pd.DataFrame, methods: Sequence[str]) -> dict[str, float]:
    """Name each method's level as a metric: `evaluation/train/dpok/image_reward`.

    A method that only some of the prompts have has no level: it would be one over other prompts.
    """
    return {
        f"evaluation/{split}/{quantity}/{metric}": estimate.mean
        for split in splits(comparison)
        for (metric, quantity), estimate in overall(comparison, split).items()
        if quantity in methods
    }
