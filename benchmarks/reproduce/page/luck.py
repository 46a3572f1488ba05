"""How far training runs come out apart that differ by nothing but their seed.

Most runs are made with one seed or two: too few to see their own luck. It is therefore pooled over
all runs of an algorithm that were made with several seeds, whatever their prompt and length, and
every interval of the page is as wide as this luck asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.reproduce.page.methods import methods_of
from benchmarks.reproduce.rows import KEPT, Rows
from benchmarks.reproduce.series import BASE, SERIES

#: Fewer degrees of freedom than this say little of an algorithm, and all algorithms stand for it.
FEWEST = 8
ALL = "all algorithms"


class Spread(NamedTuple):
    """A standard deviation that was itself estimated.

    Attributes:
        deviation: The standard deviation.
        freedom: Degrees of freedom of its estimate.
    """

    deviation: float
    freedom: int


class Luck:
    """The spread of a run's mean score between training seeds.

    Args:
        spreads: By algorithm or `ALL`, metric and split.
        algorithms: The algorithm of each method.
    """

    def __init__(
        self, spreads: Mapping[tuple[str, str, str], Spread], algorithms: Mapping[str, str]
    ) -> None:
        self.spreads, self.algorithms = dict(spreads), dict(algorithms)

    def of_mean(self, method: str, metric: str, split: str, runs: int) -> list[Spread]:
        """Return what luck adds to a method's mean over several runs.

        Args:
            method: Name of the method.
            metric: Name of the metric.
            split: Prompts over which a run's mean is taken.
            runs: Number of training runs, over prompts and seeds.

        Returns:
            One spread; none of the base model, which nobody trains, and none where no run has been
            made with two seeds.
        """
        if method == BASE:
            return []
        own = self.spreads.get((self.algorithms[method], metric, split))
        if own is None or own.freedom < FEWEST:
            own = self.spreads.get((ALL, metric, split))
        if own is None:
            return []
        return [Spread(own.deviation / np.sqrt(runs), own.freedom)]


def measure_luck(rows: Mapping[str, Rows]) -> Luck:
    """Pool the spread of all runs that differ by their training seed alone.

    Args:
        rows: The rows of each series, by its name.
    """
    algorithms = {
        name: method.algorithm
        for series in SERIES.values()
        for name, method in methods_of(series.env).items()
    }
    means = pd.DataFrame(
        [
            {
                "run": (unit.series, unit.experiment, unit.method, unit.images),
                "seed": unit.seed,
                "algorithm": algorithms[unit.method],
                "split": prompt["split"],
                "metric": metric,
                "mean": np.nanmean(prompt["scores"][metric]),
            }
            for found in rows.values()
            for unit, row in found.items()
            if unit.method != BASE
            for prompt in row.prompts
            for metric in KEPT
            if metric in prompt["scores"]
        ],
        columns=["run", "seed", "algorithm", "split", "metric", "mean"],
    )
    keys = ["algorithm", "metric", "split", "run"]
    seeds = means.groupby([*keys, "seed"])["mean"].mean().groupby(keys)
    squares = ((seeds.count() - 1) * seeds.var()).dropna()  # of one seed alone it is NaN
    freedom = (seeds.count() - 1).loc[squares.index]
    everywhere = pd.DataFrame({"squares": squares, "freedom": freedom}).reset_index()
    several = pd.concat([everywhere, everywhere.assign(algorithm=ALL)])
    pooled = several.groupby(["algorithm", "metric", "split"])[["squares", "freedom"]].sum()
    spreads = {
        key: Spread(float(np.sqrt(one["squares"] / one["freedom"])), int(one["freedom"]))
        for key, one in pooled.iterrows()
    }
    return Luck(spreads, algorithms)
