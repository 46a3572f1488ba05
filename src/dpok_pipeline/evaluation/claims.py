"""The paper's claims, each marked by the data: holds, does not hold, or undecided.

A verdict is read off a paired 95 % interval and nothing else:

* *holds*: the whole interval lies on the claimed side of 0, and the estimate reaches the size that
  the claim names, if it names one;
* *does not hold*: the whole interval lies on the other side of 0, or short of the named size;
* *undecided*: the interval allows both.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.comparison import overall
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MODEL_LABELS, metric, reward_in_words, reward_name

Verdict = Literal["holds", "does not hold", "undecided"]
Cells = dict[tuple[str, str], Interval]

REWARD = "reward"


class Claim(NamedTuple):
    """One statement about a difference between two models.

    Attributes:
        name: key of the claim.
        statement: what is claimed, as a sentence; `{reward}` is what training maximised.
        split: on which prompts.
        metric: of which score; `REWARD` for what training maximised.
        better: the model that is claimed to score higher.
        worse: the other one.
        at_least: by how much, in the metric's unit.
    """

    name: str
    statement: str
    split: str
    metric: str
    better: str
    worse: str
    at_least: float = 0.0


CLAIMS = (
    Claim(
        "reward_above_base",
        "DPOK scores higher on {reward} than the base model.",
        "train",
        REWARD,
        "rl",
        "base",
    ),
    Claim(
        "reward_above_sft",
        "DPOK scores higher on {reward} than SFT.",
        "train",
        REWARD,
        "rl",
        "sft",
    ),
    Claim(
        "aesthetic_above_sft",
        "SFT’s aesthetic score is below DPOK’s.",
        "train",
        "aesthetic",
        "rl",
        "sft",
    ),
    Claim(
        "unseen_above_base",
        "It generalises: on the unseen prompt, too, DPOK scores higher than the base model.",
        "unseen",
        REWARD,
        "rl",
        "base",
    ),
    Claim(
        "unseen_above_sft",
        "On the unseen prompt, too, DPOK scores higher than SFT.",
        "unseen",
        REWARD,
        "rl",
        "sft",
    ),
    Claim(
        "saturation_below_sft",
        "SFT’s images are more saturated than DPOK’s.",
        "train",
        "saturation",
        "sft",
        "rl",
    ),
    Claim(
        "reward_per_kl",
        "For each unit of KL from the base model, DPOK gains more of {reward} than SFT.",
        "train",
        "reward_per_kl",
        "rl",
        "sft",
    ),
    Claim(
        "judge_above_base",
        "The gain is real: the judge finds DPOK’s images right at least 15 points more often "
        "than the base model’s.",
        "train",
        "judge",
        "rl",
        "base",
        0.15,
    ),
)

COLUMNS = ["experiment", "prompt", "claim", "statement", "verdict", "evidence", *Interval._fields]


def verdict(difference: Interval, at_least: float = 0.0) -> Verdict:
    """Judge one claimed difference by its interval (rule in the module docstring)."""
    if difference.low > 0 and difference.mean >= at_least:
        return "holds"
    if difference.high <= at_least:
        return "does not hold"
    return "undecided"


def judge_claims(comparison: pd.DataFrame) -> pd.DataFrame:
    """Judge every claim on every experiment: on its prompt, or on the mean over its prompts.

    Args:
        comparison: as `comparison.compare` returns it.

    Returns:
        One row per experiment and claim: experiment, prompt, claim, statement, verdict,
        evidence, and the difference's mean, low and high in the claimed direction. A claim
        whose metric was not measured is absent.
    """
    rows = []
    claims = _claims(set(comparison["metric"]))
    own = comparison[comparison["experiment"] != "all"]
    for (experiment, split), part in own.groupby(["experiment", "split"], sort=False):
        cells, prompt = overall(part, str(split)), part["prompt"].iloc[-1]  # means come last
        for claim in claims:
            difference = _difference(cells, claim) if claim.split == split else None
            if difference is None:
                continue
            mark = verdict(difference, claim.at_least)
            text = _evidence(cells, claim, difference)
            rows.append((experiment, prompt, claim.name, claim.statement, mark, text, *difference))
    return pd.DataFrame(rows, columns=COLUMNS)


def _claims(metrics: set[object]) -> list[Claim]:
    """The claims about the reward that training maximised here."""
    reward, in_words = reward_name(metrics), reward_in_words(metrics)
    return [
        claim._replace(
            statement=claim.statement.format(reward=in_words),
            metric=reward if claim.metric == REWARD else claim.metric,
        )
        for claim in CLAIMS
    ]


def summarise_claims(claims: pd.DataFrame) -> pd.DataFrame:
    """One row per claim over the experiments: on how many it holds, fails, stays undecided."""
    rows = []
    for claim in CLAIMS:
        part = claims[claims["claim"] == claim.name]
        if part.empty:
            continue
        counts = part["verdict"].value_counts()
        rows.append(
            {
                "claim": claim.name,
                "statement": part["statement"].iloc[0],
                "holds": int(counts.get("holds", 0)),
                "does not hold": int(counts.get("does not hold", 0)),
                "undecided": int(counts.get("undecided", 0)),
                "of": len(part),
            }
        )
    columns = ["claim", "statement", "holds", "does not hold", "undecided", "of"]
    return pd.DataFrame(rows, columns=columns)


def _difference(cells: Cells, claim: Claim) -> Interval | None:
    """The claimed difference; the table may hold it the other way round."""
    same_way = cells.get((claim.metric, f"{claim.better} - {claim.worse}"))
    if same_way is not None:
        return same_way
    other_way = cells.get((claim.metric, f"{claim.worse} - {claim.better}"))
    if other_way is not None:
        return Interval(-other_way.mean, -other_way.high, -other_way.low)
    return None


def _evidence(cells: Cells, claim: Claim, difference: Interval) -> str:
    """The numbers behind a verdict, in words."""
    shown = metric(claim.metric)
    unit = " points" if shown.share else ""
    levels = [
        f"{MODEL_LABELS[model]} {shown.number(cells[claim.metric, model].mean)}"
        for model in (claim.better, claim.worse)
    ]
    ends = " to ".join(shown.number(end, signed=True) for end in difference[1:])
    gap = shown.number(difference.mean, signed=True)
    text = f"{levels[0]}, {levels[1]}: difference {gap}{unit} ({ends})"
    if claim.metric == "reward_per_kl" and ("kl", "sft") in cells:
        distance = metric("kl")
        return (
            text
            + "; KL "
            + " and ".join(
                f"{MODEL_LABELS[model]} {distance.number(cells['kl', model].mean)}"
                for model in (claim.better, claim.worse)
            )
        )
    return text
