"""95 % intervals by a paired bootstrap over seeds.

Base model, SFT and DPOK draw their images from the same noise, so image i of one model is paired
with image i of the others. A bootstrap replicate draws noise indices with replacement, once for
all models and prompts; differences are thereby taken image by image and the luck of the draw
cancels. Where there are several training runs these are drawn with replacement too, so that the
interval also covers the luck of training.

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
            images: n, the number of noise indices.
            runs: s, the number of training runs.
            replicates: r.
            seed: of the draws.
        """
        rng = np.random.default_rng(seed)
        self.images = _draw(rng, images, replicates)  # (r, n), rows sum to 1
        self.runs = _draw(rng, runs, replicates)  # (r, s)

    def means(self, values: Array) -> Array:
        """Mean of `values` `(s, n)` in every replicate, `(r,)`.

        NaN values do not count.
        """
        known = ~np.isnan(values)
        sums: Array = self.images @ np.where(known, values, 0).T  # (r, s)
        weights: Array = self.images @ known.T
        with np.errstate(invalid="ignore"):  # a replicate without a known value is NaN
            mean: Array = (self.runs * sums).sum(1) / (self.runs * weights).sum(1)
        return mean

    def pair_means(self, distances: Array) -> Array:
        """Mean over pairs of two different draws of `distances` `(s, n, n)`, `(r,)`.

        The same image drawn twice is no pair: it would pull every replicate towards 0.
        """
        weights = self.images
        pairs = 1 - (weights**2).sum(1)  # (r,), weight of the pairs of different images
        with np.errstate(invalid="ignore"):  # a replicate of one image over and over has no pair
            per_run = np.stack([((weights @ d) * weights).sum(1) / pairs for d in distances], 1)
        mean: Array = (self.runs * per_run).sum(1)
        return mean

    def mean(self, values: Array) -> Interval:
        """Mean of `values` `(s, n)` with its interval."""
        return interval(float(np.nanmean(values)), self.means(values))


def _draw(rng: np.random.Generator, count: int, replicates: int) -> Array:
    """Weights `(replicates, count)` of a draw of `count` things with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=replicates) / count


def interval(mean: float, replicates: Array) -> Interval:
    """The central 95 % of the replicates around an estimate."""
    finite = replicates[np.isfinite(replicates)]
    if len(finite) == 0:
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(finite, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def wins(ours: Array, theirs: Array) -> Array:
    """1 where our image scores higher on the same noise, 0 where lower, ½ for a tie."""
    won = (ours > theirs) + 0.5 * (ours == theirs)
    return np.where(np.isnan(ours) | np.isnan(theirs), np.nan, won)
