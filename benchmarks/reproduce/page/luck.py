"""How far training runs come out apart that differ by nothing but their seed.

Most runs are made with one seed or two: too few to see their own luck. It is therefore pooled over
all runs of a method that were made with several seeds, whatever their prompt, and every interval of
the page is as wide as this luck asks for. Short and long runs are pooled apart: a method that is
steady at first may fall apart at times when it is trained on. A method that has too few such runs
is taken to be as steady as the one that it varies, its own runs counted in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.reproduce.page.methods import methods_of
from benchmarks.reproduce.rows import KEPT, Rows
from benchmarks.reproduce.series import BASE, SERIES

#: Fewer degrees of freedom than this say little of a method.
FEWEST = 4
#: The most images of a short run.
SHORT = 960
ALL = "all methods"


class Spread(NamedTuple):
    """A standard deviation that was itself estimated.

    Attributes:
        deviation: The standard deviation.
        freedom: Degrees of freedom of its estimate.
    """

    deviation: float
    freedom: int


class Runs(NamedTuple):
    """Whose luck it is, and in what.

    Attributes:
        whose: A method, or `ALL`.
        long: Whether the runs have learned from more images than `SHORT`.
        metric: Name of the metric.
        split: Prompts over which a run's mean is taken.
    """

    whose: str
    long: bool
    metric: str
    split: str


class Luck:
    """The spread of a run's mean score between training seeds.

    Args:
        spreads: What was measured.
        varied: By method, the one that it varies: that of its algorithm's name.
    """

    def __init__(self, spreads: Mapping[Runs, Spread], varied: Mapping[str, str]) -> None:
        self.spreads, self.varied = dict(spreads), dict(varied)

    def of_mean(self, method: str, images: int, metric: str, split: str, runs: int) -> list[Spread]:
        """Return what luck adds to a method's mean over several runs.

        Args:
            method: Name of the method.
            images: Number of images that it has learned from.
            metric: Name of the metric.
            split: Prompts over which a run's mean is taken.
            runs: Number of training runs, over prompts and seeds.

        Returns:
            One spread; none of the base model, which nobody trains, and none where no run has been
            made with two seeds.
        """
        if method == BASE:
            return []
        asked = Runs(method, images > SHORT, metric, split)
        own = self.spreads.get(asked)
        varied = self.spreads.get(asked._replace(whose=self.varied[method]))
        if own is not None and own.freedom >= FEWEST:
            found: Spread | None = own
        elif varied is not None and varied.freedom >= FEWEST:
            found = varied if own is None else pool(own, varied)
        else:
            everybody = [
                asked._replace(whose=ALL, long=long) for long in (asked.long, not asked.long)
            ]
            found = next((self.spreads[one] for one in everybody if one in self.spreads), None)
        return [] if found is None else [Spread(found.deviation / np.sqrt(runs), found.freedom)]


def pool(*spreads: Spread) -> Spread:
    """Take several estimates for one, each by its degrees of freedom."""
    freedom = sum(one.freedom for one in spreads)
    squares = sum(one.freedom * one.deviation**2 for one in spreads)
    return Spread(float(np.sqrt(squares / freedom)), freedom)


def measure_luck(rows: Mapping[str, Rows]) -> Luck:
    """Pool the spread of all runs that differ by their training seed alone.

    Args:
        rows: The rows of each series, by its name.
    """
    means = pd.DataFrame(
        [
            {
                "run": (unit.series, unit.experiment, unit.method, unit.images),
                "seed": unit.seed,
                "whose": unit.method,
                "long": unit.images > SHORT,
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
        columns=["run", "seed", *Runs._fields, "mean"],
    )
    keys = [*Runs._fields, "run"]
    seeds = means.groupby([*keys, "seed"])["mean"].mean().groupby(keys)
    squares = ((seeds.count() - 1) * seeds.var()).dropna()  # of one seed alone it is NaN
    freedom = (seeds.count() - 1).loc[squares.index]
    by_method = pd.DataFrame({"squares": squares, "freedom": freedom}).reset_index()
    several = pd.concat([by_method, by_method.assign(whose=ALL)])
    pooled = several.groupby([*Runs._fields])[["squares", "freedom"]].sum()
    spreads = {
        Runs(*key): Spread(float(np.sqrt(one["squares"] / one["freedom"])), int(one["freedom"]))
        for key, one in pooled.iterrows()
    }
    methods = [method for series in SERIES.values() for method in methods_of(series.env).values()]
    return Luck(spreads, {method.name: method.algorithm for method in methods})
