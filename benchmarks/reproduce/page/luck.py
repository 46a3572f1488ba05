"""How far training runs come out apart that differ by nothing but their seed.

Most runs are made with one seed or two: too few to see their own luck. It is therefore pooled over
all runs of a method that were made with several seeds, whatever their prompt and length, and every
interval of the page is as wide as this luck asks for. Methods of one algorithm can differ by far:
where one of them falls apart at times, that says nothing of another. A method that has too few
such runs of its own is taken to be like all of its algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.reproduce.page.methods import methods_of
from benchmarks.reproduce.rows import KEPT, Rows
from benchmarks.reproduce.series import BASE, SERIES

#: Fewer degrees of freedom than this say little of a method, or of an algorithm.
FEWEST = 8
ALL = "all algorithms"


def all_of(algorithm: str) -> str:
    """Name all methods of an algorithm, one of which may have the algorithm's name."""
    return f"all of {algorithm}"


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
        spreads: By whose they are (a method, `all_of` an algorithm, or `ALL`), metric and split.
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
        for whose in (method, all_of(self.algorithms[method]), ALL):
            spread = self.spreads.get((whose, metric, split))
            if spread is not None and (spread.freedom >= FEWEST or whose == ALL):
                return [Spread(spread.deviation / np.sqrt(runs), spread.freedom)]
        return []


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
                "whose": unit.method,
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
        columns=["run", "seed", "whose", "split", "metric", "mean"],
    )
    keys = ["whose", "metric", "split", "run"]
    seeds = means.groupby([*keys, "seed"])["mean"].mean().groupby(keys)
    squares = ((seeds.count() - 1) * seeds.var()).dropna()  # of one seed alone it is NaN
    freedom = (seeds.count() - 1).loc[squares.index]
    by_method = pd.DataFrame({"squares": squares, "freedom": freedom}).reset_index()
    by_algorithm = by_method.assign(whose=by_method["whose"].map(algorithms).map(all_of))
    several = pd.concat([by_method, by_algorithm, by_method.assign(whose=ALL)])
    pooled = several.groupby(["whose", "metric", "split"])[["squares", "freedom"]].sum()
    spreads = {
        key: Spread(float(np.sqrt(one["squares"] / one["freedom"])), int(one["freedom"]))
        for key, one in pooled.iterrows()
    }
    return Luck(spreads, algorithms)
