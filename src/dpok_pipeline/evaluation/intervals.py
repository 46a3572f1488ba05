"""95 % intervals of means: a paired bootstrap over noises, and the luck of training beside it.

All methods draw their images from the same noise, so image i of one method is paired with image i
of the others. A bootstrap replicate draws noise indices with replacement, once for all methods and
prompts; differences are thereby taken image by image and the luck of the draw cancels.

Training runs are too few to be drawn again: of three runs such a replicate is hardly ever outside
of what they span, and the interval misses the truth one time in four. Their luck is estimated
instead, from the spread between runs that differ by their training seed alone, pooled over
experiments, and enters by Student's distribution.

Notation: e experiments, p prompts, s training runs of each experiment, n noise indices,
r replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REPLICATES = 10_000


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


class Bootstrap:
    """The same draws for everything that is compared; fixed by its seed."""

    def __init__(self, images: int, replicates: int = REPLICATES, seed: int = 0) -> None:
        """Draw the replicates.

        Args:
            images: Number of noise indices, n.
            replicates: Number of replicates, r.
            seed: Seed of the draws.
        """
        rng = np.random.default_rng(seed)
        weights = np.full(images, 1 / images)
        self.images = rng.multinomial(images, weights, size=replicates) / images  # (r, n)
        self.seed = seed

    def means(self, values: Array) -> Array:
        """Average `values` `(s, n)` in every replicate, `(r,)`.

        NaN values do not count.
        """
        known = ~np.isnan(values)
        # Of each replicate and run the weighted sum over the noises, and the weight of those known.
        sums: Array = self.images @ np.where(known, values, 0).T  # (r, n) @ (n, s) -> (r, s)
        weights: Array = self.images @ known.T  # (r, s)
        with np.errstate(invalid="ignore"):  # a replicate without a known value is NaN
            mean: Array = sums.sum(1) / weights.sum(1)
        return mean

    def pair_means(self, distances: Array) -> Array:
        """Average `distances` `(s, n, n)` over pairs of two different draws, `(r,)`.

        The same image drawn twice is no pair: it would pull every replicate towards 0.
        """
        weights = self.images
        pairs = 1 - (weights**2).sum(1)  # (r,), weight of the pairs of different images
        with np.errstate(invalid="ignore"):  # a replicate of one image over and over has no pair
            # wᵀDw of each replicate's weights w, run by run; stacked to (r, s).
            per_run = np.stack([((weights @ d) * weights).sum(1) / pairs for d in distances], 1)
        mean: Array = per_run.mean(1)
        return mean

    def mean(self, values: Array) -> Interval:
        """Average `values` `(s, n)`, with the interval that the luck of the noises gives it."""
        return interval(float(np.nanmean(values)), self.means(values))

    def training_luck(self, runs: Array, experiments: Sequence[str]) -> Array:
        """Draw what the luck of training adds to a mean over prompts and runs, `(r,)`.

        The runs of an experiment differ by their training seed alone. Their variance is averaged
        over the experiments, each of which trains models of its own, and a t-distribution with as
        many degrees of freedom as it was estimated from stands for what other seeds would give.

        Args:
            runs: Mean of every prompt and run, `(p, s)`; NaN does not count.
            experiments: Name of each prompt's experiment.

        Returns:
            0 where no experiment has two runs: then nothing is known of their luck.
        """
        names, places = np.unique(experiments, return_inverse=True)
        member = np.equal.outer(np.arange(len(names)), places).astype(float)  # (e, p)
        known = ~np.isnan(runs)
        with np.errstate(invalid="ignore"):  # a run without any value stays NaN
            # An experiment's prompts share the luck of its runs, so that it has one mean a run.
            by_run = (member @ np.where(known, runs, 0)) / (member @ known)  # (e, s)
        counts = (~np.isnan(by_run)).sum(1)  # (e,)
        freedom = int((counts - 1).clip(min=0).sum())
        if freedom == 0:
            return np.zeros(len(self.images))
        measured = counts > 0
        by_run, counts = by_run[measured], counts[measured]
        deviations = by_run - (np.nansum(by_run, axis=1) / counts)[:, None]
        of_one = float(np.nansum(deviations**2)) / freedom
        shares = member.mean(1)[measured]  # of an experiment in all prompts, (e,)
        variance = of_one * float((shares**2 / counts).sum())
        # Not the draws of the images, and for everything that has as many runs the same ones.
        rng = np.random.default_rng((self.seed, freedom))
        luck: Array = np.sqrt(variance) * rng.standard_t(freedom, len(self.images))
        return luck


def interval(mean: float, replicates: Array) -> Interval:
    """Put the central 95 % of the replicates around an estimate."""
    finite = replicates[np.isfinite(replicates)]
    if len(finite) == 0:
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(finite, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def wins(ours: Array, theirs: Array) -> Array:
    """Give 1 where our image scores higher on the same noise, 0 where lower, ½ for a tie."""
    won = (ours > theirs) + 0.5 * (ours == theirs)
    return np.where(np.isnan(ours) | np.isnan(theirs), np.nan, won)
