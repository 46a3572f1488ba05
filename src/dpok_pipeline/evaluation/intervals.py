"""95 % intervals by a paired bootstrap over seeds.

All methods draw their images from the same noise, so image i of one method is paired with image i
of the others. A bootstrap replicate draws noise indices with replacement, once for all methods and
prompts; differences are thereby taken image by image and the luck of the draw cancels. Where there
are several training runs these are drawn with replacement too, so that the interval also covers the
luck of training.

Notation: s training runs, n noise indices, r replicates.
"""

from __future__ import annotations

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

    def __init__(
        self, images: int, runs: int = 1, replicates: int = REPLICATES, seed: int = 0
    ) -> None:
        """Draw the replicates.

        Args:
            images: Number of noise indices, n.
            runs: Number of training runs, s.
            replicates: Number of replicates, r.
            seed: Seed of the draws.
        """
        rng = np.random.default_rng(seed)
        self.images = _draw(rng, images, replicates)  # (r, n), rows sum to 1
        self.runs = _draw(rng, runs, replicates)  # (r, s)

    def means(self, values: Array) -> Array:
        """Average `values` `(s, n)` in every replicate, `(r,)`.

        NaN values do not count.
        """
        known = ~np.isnan(values)
        # Of each replicate and run the weighted sum over the noises, and the weight of those known.
        sums: Array = self.images @ np.where(known, values, 0).T  # (r, n) @ (n, s) -> (r, s)
        weights: Array = self.images @ known.T  # (r, s)
        with np.errstate(invalid="ignore"):  # a replicate without a known value is NaN
            mean: Array = (self.runs * sums).sum(1) / (self.runs * weights).sum(1)
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
        mean: Array = (self.runs * per_run).sum(1)
        return mean

    def mean(self, values: Array) -> Interval:
        """Average `values` `(s, n)`, with the interval of the mean."""
        return interval(float(np.nanmean(values)), self.means(values))


def _draw(rng: np.random.Generator, count: int, replicates: int) -> Array:
    """Draw `count` things with replacement, as weights `(replicates, count)` that sum to 1."""
    return rng.multinomial(count, np.full(count, 1 / count), size=replicates) / count


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
