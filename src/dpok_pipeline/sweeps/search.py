"""Which settings are tried: all of a grid, some at random, the best of many, or as TPE proposes.

A search is a generator: it yields candidates, is sent a verdict on each, and returns at its end.
What it asks for depends on the space, the seed and the verdicts alone. A search that is begun again
therefore asks for the same, and trials that are there already need not be run again: there is no
state to keep.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from dpok_pipeline.errors import InputError
from dpok_pipeline.sweeps.space import Choices, Dimension, Range, Setting, Space

#: Candidates that TPE proposes before it is told of any of them. It is the same for any number of
#: workers, as what it proposes depends on it.
AT_ONCE = 4
#: Candidates that TPE draws at random before it models what is good.
FIRST_DRAWN = 8
#: Stands for the loss of a setting that has diverged: more than any, and a number as TPE wants it.
HOPELESS = 1e9


class Candidate(NamedTuple):
    """What is to be tried next.

    Attributes:
        setting: The parameters' values.
        share: The share of the method's whole run that it is given.
    """

    setting: Setting
    share: float = 1.0


class Verdict(NamedTuple):
    """What has come of a candidate.

    Attributes:
        objective: What is to be high.
        excess: By how much a score has fallen further than it may; 0 if none has.
    """

    objective: float
    excess: float = 0.0

    @property
    def rank(self) -> tuple[float, float]:
        """A key that sorts the best first; no objective makes up for a score that fell too far."""
        return self.excess, -self.objective


Search = Generator[list[Candidate], Sequence[Verdict], None]


def try_all(settings: Sequence[Setting]) -> Search:
    """Try every setting in a whole run."""
    yield [Candidate(setting) for setting in settings]


def halve(settings: Sequence[Setting], factor: int) -> Search:
    """Try all settings briefly, and give the best ones the time of the others: successive halving.

    (Jamieson and Talwalkar, 2016.) Every round keeps one in `factor`, and gives it `factor` times
    as many images; the last round is a whole run.

    Args:
        settings: The settings.
        factor: How many of them one is kept of, and how many times longer it is tried.
    """
    rounds = rounds_of(len(settings), factor)
    left = [*settings]
    for number in range(rounds):
        share = factor ** (number + 1.0 - rounds)
        verdicts = yield [Candidate(setting, share) for setting in left]
        order = sorted(range(len(left)), key=lambda at: verdicts[at].rank)
        left = [left[at] for at in sorted(order[: max(len(left) // factor, 1)])]


def rounds_of(settings: int, factor: int) -> int:
    """Return the number of rounds: in the last one fewer than `factor` settings are tried."""
    return 1 + sum(1 for power in range(1, settings) if factor**power <= settings)


def propose(space: Space, trials: int, seed: int) -> Search:
    """Try what Optuna's tree-structured Parzen estimator proposes.

    Args:
        space: What is varied.
        trials: Number of settings.
        seed: Seed of the proposals.

    Raises:
        InputError: Optuna is not installed.
    """
    study = _make_study(seed)
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    done = 0
    while done < trials:
        asked = [study.ask(distributions) for _ in range(min(AT_ONCE, trials - done))]
        verdicts = yield [Candidate(_setting(space, trial.params)) for trial in asked]
        # In the order of asking, which is the same for any number of workers.
        for trial, verdict in zip(asked, verdicts, strict=True):
            trial.set_constraint("excess", verdict.excess)
            study.tell(trial, verdict.objective)
        done += len(asked)


def _make_study(seed: int) -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "--search tpe needs Optuna: `pip install 'dpok-pipeline[tpe]'`, or take grid or random"
        ) from None
    optuna.logging.set_verbosity(logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=FIRST_DRAWN, seed=seed)
    return optuna.create_study(sampler=sampler, direction="maximize")


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _setting(space: Space, proposed: dict[str, Any]) -> Setting:
    """Return what Optuna proposes, with as many digits as settings have, in the space's order."""
    setting: Setting = {}
    for name, dimension in space.items():
        value = proposed[name]
        setting[name] = dimension.shorten(value) if isinstance(dimension, Range) else value
    return setting
