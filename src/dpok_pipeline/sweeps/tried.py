"""What has come of each setting: the mean of its trials, against the base model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from dpok_pipeline.runs.params import write_value
from dpok_pipeline.sweeps.search import HOPELESS, Candidate, Verdict
from dpok_pipeline.sweeps.space import Setting
from dpok_pipeline.sweeps.trial import Outcome

#: A trial's place: the experiment, and the training seed.
Place = tuple[str, int]


@dataclass(frozen=True)
class Aim:
    """What a sweep is after.

    Attributes:
        objective: Name of the score that is to be high.
        guards: By how much other scores may fall below the base model's, on the mean.
    """

    objective: str
    guards: Mapping[str, float]


@dataclass(frozen=True)
class Tried:
    """A setting whose trials are done.

    Attributes:
        number: Its place among all candidates, from 1.
        candidate: The setting, and the share of a whole run that it was given.
        outcomes: What its trials came to.
        base: What the base model came to, by experiment.
        aim: What the sweep is after.
    """

    number: int
    candidate: Candidate
    outcomes: Mapping[Place, Outcome]
    base: Mapping[str, Outcome]
    aim: Aim

    @cached_property
    def scores(self) -> dict[str, float]:
        """Mean of each score over experiments and seeds, which weigh alike.

        Empty if a trial has diverged: a setting that cannot be relied on is not one to choose.
        """
        if self.diverged:
            return {}
        return mean_scores(self.outcomes.values())

    @cached_property
    def diverged(self) -> str:
        """How the first of its trials that has diverged has done so; empty if none has."""
        return next((one.diverged for one in self.outcomes.values() if one.diverged), "")

    @cached_property
    def base_scores(self) -> dict[str, float]:
        """The base model's, over the same experiments."""
        return mean_scores(self.base.values())

    @cached_property
    def verdict(self) -> Verdict:
        """What the search is told."""
        if self.diverged:
            return Verdict(-HOPELESS, HOPELESS)
        excess = sum(
            max(self.base_scores[name] - self.scores[name] - fall, 0.0)
            for name, fall in self.aim.guards.items()
        )
        return Verdict(self.scores[self.aim.objective], round(excess, 4))

    @property
    def by_seed(self) -> list[float]:
        """The objective's mean over the experiments for each seed, in the seeds' order.

        Empty if a trial has diverged.
        """
        if self.diverged:
            return []
        seeds = dict.fromkeys(seed for _, seed in self.outcomes)
        return [
            mean_scores(one for place, one in self.outcomes.items() if place[1] == seed)[
                self.aim.objective
            ]
            for seed in seeds
        ]

    @property
    def images(self) -> int:
        """Images that each of its trials has learned from."""
        return next(iter(self.outcomes.values())).images

    @property
    def seconds(self) -> float:
        """Seconds of all its trials together."""
        return sum(one.seconds for one in self.outcomes.values())

    def row(self) -> dict[str, Any]:
        """Return its row in the table."""
        return {
            "number": self.number,
            **self.candidate.setting,
            "images": self.images,
            **{name: self.scores.get(name) for name in self.base_scores},
            **{f"{name}_base": score for name, score in self.base_scores.items()},
            "too_low_by": None if self.diverged else self.verdict.excess,
            "lowest_seed": min(self.by_seed, default=None),
            "highest_seed": max(self.by_seed, default=None),
            "seconds": round(self.seconds, 1),
            "diverged": self.diverged,
        }


def mean_scores(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Average each score over outcomes that weigh alike."""
    return {
        str(name): float(mean)
        for name, mean in pd.DataFrame([one.scores for one in outcomes]).mean().items()
    }


def ranked(tried: Sequence[Tried]) -> list[Tried]:
    """Sort from the best to the worst; those of a whole run come before all that had less.

    Those that have diverged come last, after however long a run.
    """
    return sorted(
        tried, key=lambda one: (bool(one.diverged), -one.candidate.share, *one.verdict.rank)
    )


def describe(setting: Setting) -> str:
    """Write a setting in a line, each parameter by the last word of its name."""
    parts = (f"{name.rpartition('.')[2]} {write_value(value)}" for name, value in setting.items())
    return ", ".join(parts) or "as configured"


def command(method: str, setting: Setting, env: str | None) -> str:
    """Write the command that makes the whole comparison with a setting."""
    shared = ("sampling.", "sample_generation.")
    params = ",".join(
        f"{name if name.startswith(shared) else f'methods.{method}.{name}'}={write_value(value)}"
        for name, value in setting.items()
    )
    options = [f"--env {env}"] if env else []
    return " ".join(["kedro run", *options, *([f"--params {params}"] if params else [])])
