"""Claims about methods, each marked by the data: holds, does not hold, or undecided.

Which claims there are is configuration, see `config.ClaimConfig`. A verdict is read off a paired
95 % interval and nothing else:

* *holds*: the whole interval lies on the claimed side of 0, and the estimate reaches the size that
  the claim names, if it names one;
* *does not hold*: the whole interval lies on the other side of 0, or short of the named size;
* *undecided*: the interval allows both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from dpok_pipeline.evaluation.config import ClaimConfig
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MethodLabel, find_method, metric, training_reward
from dpok_pipeline.evaluation.reading import Cells, overall

Verdict = Literal["holds", "does not hold", "undecided"]

#: What a claim calls the metric that training maximised, whichever that is.
REWARD = "reward"

#: Parts of a claim that its row repeats, so that a reader of the table needs nothing else.
_ABOUT = ["metric", "split", "better", "worse", "decisive", "from_paper"]
COLUMNS = [
    "experiment",
    "prompt",
    "claim",
    "statement",
    "verdict",
    "evidence",
    *Interval._fields,
    *_ABOUT,
]
_COUNTED = ["holds", "does not hold", "undecided"]


def verdict(difference: Interval, at_least: float = 0.0) -> Verdict:
    """Judge one claimed difference by its interval (rule in the module docstring)."""
    if difference.low > 0 and difference.mean >= at_least:
        return "holds"
    if difference.high <= at_least:
        return "does not hold"
    return "undecided"


def judge_claims(
    comparison: pd.DataFrame, claims: Mapping[str, ClaimConfig], methods: Sequence[MethodLabel]
) -> pd.DataFrame:
    """Judge every claim on every experiment: on its prompt, or on the mean over its prompts.

    Args:
        comparison: As `comparison.compare` returns it.
        claims: Claims by name, in the order of the report.
        methods: Methods that there are; a claim about another one is left out.

    Returns:
        One row per experiment and claim with the columns `COLUMNS`: mean, low and high are the
        difference in the claimed direction, metric is the one that `reward` stands for. A claim
        whose difference was not measured is absent.
    """
    metrics = set(comparison["metric"])
    named = {method.name for method in methods}
    listed = {
        name: _about_reward(claim, training_reward(metrics))
        for name, claim in claims.items()
        if {claim.better, claim.worse} <= named
    }
    rows = []
    single = comparison[comparison["experiment"] != "all"]
    for experiment, part in single.groupby("experiment", sort=False):
        for name, claim in listed.items():
            on_split = part[part["split"] == claim.split]
            cells = overall(on_split, claim.split)
            difference = _difference(cells, claim)
            if difference is None:
                continue
            prompt = on_split["prompt"].iloc[-1]  # means come last
            mark = verdict(difference, claim.at_least)
            text = _evidence(cells, claim, difference, methods)
            about = [getattr(claim, field) for field in _ABOUT]
            rows.append(
                (experiment, prompt, name, claim.statement, mark, text, *difference, *about)
            )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"decisive": bool, "from_paper": bool})


def _about_reward(claim: ClaimConfig, reward: str) -> ClaimConfig:
    """Put what training maximised into a claim."""
    return claim.model_copy(
        update={
            "statement": claim.statement.format(reward=metric(reward).in_a_sentence),
            "metric": reward if claim.metric == REWARD else claim.metric,
        }
    )


def summarise_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """Count for each claim on how many experiments it holds, fails, or stays undecided."""
    rows = []
    for name, part in claims.groupby("claim", sort=False):
        counts = part["verdict"].value_counts()
        rows.append(
            {
                "claim": name,
                "statement": part["statement"].iloc[0],
                **{mark: int(counts.get(mark, 0)) for mark in _COUNTED},
                "of": len(part),
            }
        )
    return pd.DataFrame(rows, columns=["claim", "statement", *_COUNTED, "of"])


def _difference(cells: Cells, claim: ClaimConfig) -> Interval | None:
    """Look up the claimed difference; the table may hold it the other way round."""
    same_way = cells.get((claim.metric, f"{claim.better} - {claim.worse}"))
    if same_way is not None:
        return same_way
    other_way = cells.get((claim.metric, f"{claim.worse} - {claim.better}"))
    if other_way is not None:
        return Interval(-other_way.mean, -other_way.high, -other_way.low)
    return None


def _evidence(
    cells: Cells, claim: ClaimConfig, difference: Interval, methods: Sequence[MethodLabel]
) -> str:
    """Put the numbers behind a verdict into words."""
    shown = metric(claim.metric)
    unit = " points" if shown.share else ""
    pair = [find_method(methods, name) for name in (claim.better, claim.worse)]

    def levels(name: str) -> list[str]:
        return [
            f"{method.label} {metric(name).number(cells[name, method.name].mean)}"
            for method in pair
        ]

    ends = " to ".join(shown.number(end, signed=True) for end in difference[1:])
    gap = shown.number(difference.mean, signed=True)
    text = f"{', '.join(levels(claim.metric))}: difference {gap}{unit} ({ends})"
    if claim.metric == "reward_per_kl":
        return f"{text}; KL {' and '.join(levels('kl'))}"
    return text
