"""Shares of the votes with 95 % intervals, and how far the raters agree.

The frame of results has one row per number:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
ours, theirs    the two methods of the contrast, by name
question        `alignment` or `quality`
raters          `people`, or `stand_in` for the judge, who is none
choice          `ours`, `tie` or `theirs`
share           share of the votes for it
low, high       the ends of its 95 % interval: a bootstrap over pairs
pairs           pairs of the contrast
votes           votes on the question: pairs × raters
rater_count     raters
alpha           Krippendorff's α of the raters; missing with a single one
pictures        the pictures that were scored when it was counted, see `stand_in.pictures_of_page`
==============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import krippendorff
import numpy as np
import pandas as pd

from dpok_pipeline.evaluation.intervals import Array, Bootstrap
from dpok_pipeline.study.pairs import Key
from dpok_pipeline.study.votes import QUESTIONS, Choice, Votes

CHOICES = ("ours", "tie", "theirs")
PEOPLE, STAND_IN = "people", "stand_in"
COLUMNS = (
    "ours",
    "theirs",
    "question",
    "raters",
    "choice",
    "share",
    "low",
    "high",
    "pairs",
    "votes",
    "rater_count",
    "alpha",
)

Ballots = list[list[Choice]]


def tally(
    key: Key,
    votes: Votes,
    stand_in: dict[str, list[Choice]],
    *,
    replicates: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Count the votes of people and of the stand-in, each by themselves.

    Args:
        key: The study's key.
        votes: The raters' files, checked by `votes.check_votes`.
        stand_in: The judge's votes in the order of the key, by question.
        replicates: Bootstrap replicates behind each interval.
        seed: Seed of the bootstrap.
    """
    contrasts = list(dict.fromkeys((entry["ours"], entry["theirs"]) for entry in key["pairs"]))
    rows = []
    for ours, theirs in contrasts:
        places = [
            n for n, e in enumerate(key["pairs"]) if (e["ours"], e["theirs"]) == (ours, theirs)
        ]
        ours_left = [key["pairs"][place]["left"] == ours for place in places]
        for question in QUESTIONS:
            by_group = {
                PEOPLE: _ballots(key, votes, question),
                STAND_IN: [stand_in[question]] if question in stand_in else [],
            }
            for raters, ballots in by_group.items():
                if not ballots:
                    continue
                seen = [[ballot[place] for place in places] for ballot in ballots]
                bootstrap = Bootstrap(len(places), replicates, seed)
                counted = (len(places), len(places) * len(seen), len(seen), agreement(seen))
                for choice, values in _fractions(seen, ours_left).items():
                    share = bootstrap.mean(values)
                    rows.append((ours, theirs, question, raters, choice, *share, *counted))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _ballots(key: Key, votes: Votes, question: str) -> Ballots:
    """Put each person's answers to one question into the order of the key."""
    ballots = []
    for file in votes.files.values():
        answers: dict[str, Choice] = {vote.pair: getattr(vote, question) for vote in file.votes}
        ballots.append([answers[entry["pair"]] for entry in key["pairs"]])
    return ballots


def _fractions(ballots: Ballots, ours_left: Sequence[bool]) -> dict[str, Array]:
    """Return for each choice the share `(1, pairs)` of the raters who made it."""
    meant = [
        [_meant(answer, left) for answer, left in zip(ballot, ours_left, strict=True)]
        for ballot in ballots
    ]
    table = np.array(meant)  # (raters, pairs)
    return {choice: (table == choice).mean(0, keepdims=True) for choice in CHOICES}


def _meant(answer: Choice, ours_left: bool) -> str:
    """Say which method an answer was for."""
    if answer == "tie":
        return "tie"
    return "ours" if (answer == "left") == ours_left else "theirs"


def agreement(ballots: Ballots) -> float:
    """Return Krippendorff's α of several raters, for nominal answers.

    Raters are compared by what they pressed, left, tie or right. They do not know the methods, and
    as sides are drawn by lot, α does not sink where all prefer one method.

    Args:
        ballots: Each rater's answers, on the same pairs.

    Returns:
        1 for perfect agreement, 0 for that of chance; NaN with a single rater, or where all have
        given one and the same answer throughout, so that chance cannot be told.
    """
    if len(ballots) < 2 or len({choice for ballot in ballots for choice in ballot}) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=ballots, level_of_measurement="nominal"))
