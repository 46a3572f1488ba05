"""What the page says of the rows: levels and differences by number of images, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.reproduce.rows import Row, scores_of
from benchmarks.reproduce.series import BASE, Unit
from dpok_pipeline.evaluation.comparison import compare
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.reading import Cells, overall

Rows = Mapping[Unit, Row]
REPLICATES = 4000


class Estimates(NamedTuple):
    """What was estimated at one number of images.

    Attributes:
        cells: By metric and quantity, as `evaluation.reading` has them.
        seeds: Number of training seeds behind them.
    """

    cells: Cells
    seeds: int


def estimate(
    rows: Rows, images: int, methods: Sequence[str], experiments: Sequence[str]
) -> Estimates | None:
    """Estimate levels on the training prompts, and the difference of every pair of methods.

    Args:
        rows: The rows of one series.
        images: Number of images that the methods have learned from.
        methods: Names of the methods, the base model aside.
        experiments: Experiments whose mean is meant.

    Returns:
        None where no training seed has all of these rows.
    """
    return estimate_scores(scores_of(rows, images, methods, experiments), methods, "train")


def estimate_scores(scores: pd.DataFrame, methods: Sequence[str], split: str) -> Estimates | None:
    """Do the same with images that have been put together already; None where there is none.

    Args:
        scores: As `rows.scores_of` returns them, or some of their prompts.
        methods: Names of the methods, the base model aside.
        split: Prompts that are meant.
    """
    if scores.empty:
        return None
    names = [BASE, *methods]
    pairs = [(a, b) for place, a in enumerate(names[::-1]) for b in names[::-1][place + 1 :]]
    result = compare(
        scores[scores["split"] == split], methods=names, contrasts=pairs, replicates=REPLICATES
    )
    return Estimates(overall(result, split), int(scores["training_seed"].nunique()))


def difference(found: Estimates, metric: str, ours: str, theirs: str) -> Interval:
    """Return how much higher the one method is than the other."""
    if (same := found.cells.get((metric, f"{ours} - {theirs}"))) is not None:
        return same
    other = found.cells[metric, f"{theirs} - {ours}"]
    return Interval(-other.mean, -other.high, -other.low)


def images_to(line: Mapping[int, float], level: float, start: float) -> float | None:
    """Return from how many images on a level is reached, in a straight line between two sizes.

    Args:
        line: Means by number of images.
        level: What is to be reached.
        start: The base model's mean, at no image.

    Returns:
        None where it is not reached.
    """
    sizes = [0, *sorted(line)]
    values = [start, *(line[size] for size in sizes[1:])]
    for (left, below), (right, above) in zip(
        zip(sizes, values, strict=True), zip(sizes[1:], values[1:], strict=True), strict=False
    ):
        if below < level <= above:
            return left + (right - left) * (level - below) / (above - below)
    return None


def smooth_curve(images: int, rewards: Sequence[float], width: int = 5) -> list[tuple[int, float]]:
    """Average the mean rewards of `width` rollouts that follow one another.

    Args:
        images: Images of the whole run.
        rewards: Mean reward of each of its rollouts; NaN for one that was skipped.
        width: Number of rollouts.

    Returns:
        Images seen so far, and the average.
    """
    smooth = pd.Series(rewards).rolling(width, min_periods=1).mean()
    per_rollout = images / max(len(rewards), 1)
    return [
        (round(per_rollout * number), float(reward))
        for number, reward in enumerate(smooth, start=1)
        if np.isfinite(reward)
    ]
