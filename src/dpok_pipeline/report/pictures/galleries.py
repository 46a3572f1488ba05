"""Which images a report shows of a method beside the first ones: its worst, and those that cheat.

A reward is a stand-in for what one wants. Where it is over-optimised, it rises while the images do
not get better. Whether they do is asked of what no training saw: the judge, or else the aesthetic
score. `scores` has one row per image, as `evaluation.scores` makes them.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from dpok_pipeline.evaluation.names import BASE, training_reward

#: Images of a gallery.
GALLERY_SIZE = 4
#: What identifies an image of one experiment.
PICTURE = ["method", "prompt_id", "index"]

Witness = Literal["judge", "aesthetic"]


def witness(scores: pd.DataFrame) -> Witness | None:
    """Say what can tell a good image from one that only has a high reward; None if nothing can."""
    reward = training_reward(scores.columns)
    names: tuple[Witness, ...] = ("judge", "aesthetic")
    return next((name for name in names if name in scores and name != reward), None)


def worst(scores: pd.DataFrame, method: str) -> pd.DataFrame:
    """Order a method's images of training prompts by their reward, the lowest first.

    Args:
        scores: Scores of one experiment.
        method: The method's name.

    Returns:
        Rows of `scores`; of images with the same reward the first prompt's and noise's come first.
    """
    rows = _trained(scores, method)
    return _ordered(rows.assign(rank=rows[training_reward(scores.columns)]))


def hacked(scores: pd.DataFrame, method: str) -> pd.DataFrame:
    """Select the images of a method whose reward was hacked, the clearest first.

    Their reward is above that of base's image from the same noise, and the witness speaks against
    them. With a judge, these are the images that it finds wrong, by the gain in reward. Without
    one, they are those whose aesthetic score is below that of base's image, by the loss.

    Args:
        scores: Scores of one experiment.
        method: The method's name.

    Returns:
        Rows of `scores`; none where no image is such, or there is no witness.
    """
    told_by, reward = witness(scores), training_reward(scores.columns)
    rows, base = _trained(scores, method), _trained(scores, BASE.name)
    if told_by is None or rows.empty or base.empty:
        return rows.iloc[:0]
    keys = ["prompt_id", "index"]
    before = base.set_index(keys)[[reward, told_by]]
    start = before.reindex(pd.MultiIndex.from_frame(rows[keys])).set_axis(rows.index)
    gain = rows[reward] - start[reward]
    if told_by == "judge":
        against, rank = rows["judge"] < 0.5, -gain
    else:
        rank = rows["aesthetic"] - start["aesthetic"]
        against = rank < 0
    return _ordered(rows.assign(rank=rank)[(gain > 0) & against])


def _trained(scores: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the rows of a method's images of training prompts."""
    return scores[(scores["split"] == "train") & (scores["method"] == method)]


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows by their rank, ties in the order of prompts and noises."""
    order = rows.dropna(subset=["rank"]).sort_values(["rank", "prompt_id", "index"])
    return order.drop(columns="rank")
