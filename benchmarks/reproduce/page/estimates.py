"""What the page says of the rows: levels and differences by number of images, with intervals.

An interval has two parts. The images that were drawn are one sample of many: noises are drawn again
with replacement, the same ones for all methods, so that of a difference only what the methods do
otherwise on the same noise is left. And the runs that were trained are one sample of many: their
luck (`luck.py`) is added, by Student's distribution, to every method that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.reproduce.page.luck import Luck, Spread
from benchmarks.reproduce.rows import KEPT, Rows, scores_of
from benchmarks.reproduce.series import BASE
from dpok_pipeline.evaluation.intervals import Interval, interval
from dpok_pipeline.evaluation.reading import Cells

Array = NDArray[np.float64]
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
    rows: Rows,
    images: int,
    methods: Sequence[str],
    experiments: Sequence[str],
    luck: Luck,
    split: str = "train",
) -> Estimates | None:
    """Estimate levels, and the difference of every pair of methods.

    Args:
        rows: The rows of one series.
        images: Number of images that the methods have learned from.
        methods: Names of the methods, the base model aside.
        experiments: Experiments whose mean is meant.
        luck: That of training.
        split: Prompts that are meant.

    Returns:
        None where no training seed has all of these rows.
    """
    scores = scores_of(rows, images, methods, experiments)
    return estimate_scores(scores, images, methods, luck, split)


def estimate_scores(
    scores: pd.DataFrame, size: int, methods: Sequence[str], luck: Luck, split: str
) -> Estimates | None:
    """Do the same with images that have been put together already; None where there is none.

    Args:
        scores: As `rows.scores_of` returns them, or some of their prompts.
        size: Number of images that the methods have learned from.
        methods: Names of the methods, the base model aside.
        luck: That of training.
        split: Prompts that are meant.
    """
    part = scores[scores["split"] == split] if not scores.empty else scores
    if part.empty:
        return None
    seeds = part["training_seed"].nunique()
    runs = seeds * part["experiment"].nunique()
    names = [BASE, *methods]
    cells: Cells = {}
    for metric in [metric for metric in KEPT if metric in part]:
        images = {name: images_of(part[part["method"] == name], metric) for name in names}
        spreads = {name: luck.of_mean(name, size, metric, split, runs) for name in names}
        for place, name in enumerate(names):
            cells[metric, name] = mean_interval(images[name], spreads[name])
            for other in names[:place]:
                cells[metric, f"{name} - {other}"] = mean_interval(
                    images[name] - images[other], [*spreads[name], *spreads[other]]
                )
    return Estimates(cells, seeds)


def images_of(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Put a metric's values into a table of prompts by noises `(p, n)`, the mean over the seeds."""
    return part.groupby(["experiment", "prompt_id", "index"])[metric].mean().unstack("index")


def mean_interval(values: pd.DataFrame, spreads: Sequence[Spread]) -> Interval:
    """Average a table of prompts by noises, with the interval of the mean.

    Args:
        values: Scores or differences `(p, n)`; NaN does not count.
        spreads: What the luck of training adds, of each method that was trained.

    Returns:
        The mean and its 95 % interval. Where an experiment has several prompts these are a sample
        as well, and are drawn again like the noises.
    """
    table = values.to_numpy(float)
    several = values.index.get_level_values("experiment").nunique() < len(values)
    noises = _draws(table.shape[1])  # (r, n)
    prompts = _draws(len(table)) if several else np.full((1, len(table)), 1 / len(table))  # (r, p)
    known = ~np.isnan(table)
    # Of each replicate the weighted sum over prompts and noises, and the weight of those known.
    sums: Array = ((prompts @ np.where(known, table, 0)) * noises).sum(1)
    weights: Array = ((prompts @ known) * noises).sum(1)
    with np.errstate(invalid="ignore"):
        replicates = sums / weights
    rng = np.random.default_rng(1)
    for spread in sorted(spreads):  # The interval of a - b is that of b - a.
        replicates = replicates + spread.deviation * rng.permutation(_student(spread.freedom))
    return interval(float(np.nanmean(table)) if known.any() else float("nan"), replicates)


@cache
def _draws(count: int) -> Array:
    """Draw so many things with replacement, as weights `(r, count)` that sum to 1."""
    rng = np.random.default_rng(count)
    return rng.multinomial(count, np.full(count, 1 / count), size=REPLICATES) / count


@cache
def _student(freedom: int) -> Array:
    """Return as many quantiles `(r,)` of Student's distribution, which chance moves hardly."""
    many = np.random.default_rng(freedom).standard_t(freedom, 100 * REPLICATES)
    return np.quantile(many, (np.arange(REPLICATES) + 0.5) / REPLICATES)


def difference(found: Estimates, metric: str, ours: str, theirs: str) -> Interval:
    """Return how much higher the one method is than the other."""
    if (same := found.cells.get((metric, f"{ours} - {theirs}"))) is not None:
        return same
    other = found.cells[metric, f"{theirs} - {ours}"]
    return Interval(-other.mean, -other.high, -other.low)


def images_to(line: Mapping[int, float], level: float) -> float | None:
    """Return from how many images on a level is reached, in a straight line between two sizes.

    Args:
        line: Means by number of images; that of the base model at 0.
        level: What is to be reached.

    Returns:
        None where it is not reached.
    """
    sizes = sorted(line)
    for left, right in pairwise(sizes):
        if line[left] < level <= line[right]:
            return left + (right - left) * (level - line[left]) / (line[right] - line[left])
    return None


def smooth_curve(images: int, rewards: Sequence[float], width: int = 5) -> list[tuple[int, float]]:
    """Average the mean rewards of `width` rollouts that follow one another.

    Args:
        images: Images of the whole run.
        rewards: Mean reward of each of its rollouts; NaN for one that was skipped.
        width: Number of rollouts.

    Returns:
        Images seen so far, and the average; of a run of fewer rollouts that of them all.
    """
    width = min(width, len(rewards))
    smooth = pd.Series(rewards, dtype=float).rolling(max(width, 1), min_periods=1).mean()
    per_rollout = images / max(len(rewards), 1)
    return [
        (round(per_rollout * number), float(reward))
        for number, reward in enumerate(smooth, start=1)
        if number >= width and np.isfinite(reward)
    ]
