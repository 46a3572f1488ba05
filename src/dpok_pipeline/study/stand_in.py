"""The judge votes in the place of people, so that a study can be tried before anybody is asked.

It is no person. Its votes are no evidence of what people prefer, and are never added to theirs.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
import pandas as pd

from dpok_pipeline.study.config import StudyConfig
from dpok_pipeline.study.pairs import Key
from dpok_pipeline.study.votes import Choice

logger = logging.getLogger(__name__)

#: How the stand-in is called wherever its votes are shown.
STAND_IN_LABEL = "Judge (stand-in, no person)"
#: Columns of the scores that it votes by, by question.
VOTES_BY = {"alignment": "judge", "quality": "aesthetic"}


def stand_in_votes(key: Key, scores: pd.DataFrame, config: StudyConfig) -> dict[str, list[Choice]]:
    """Let the judge vote on every pair, by the scores that evaluation has of the very images.

    Where the scores are of other images than the page shows, or nobody can tell, it does not vote,
    and a warning says so.

    Of two sets, that with more images right shows better what the prompt asks for. That with the
    higher mean aesthetic score has the better images, unless the means differ by no more than
    `config.quality_margin`.

    Args:
        key: The study's key.
        scores: Scores of all experiments and methods, one row per image.
        config: The margin.

    Returns:
        The votes in the order of the key, by question. A question whose score nothing measured has
        none; without a judge, or without scores of the page's images, there are none at all.
    """
    if VOTES_BY["alignment"] not in scores:
        return {}
    images = scores.set_index(["experiment", "prompt_id", "method", "index"]).sort_index()
    if problem := _other_images(key, images):
        logger.warning("The judge does not stand in for people: %s", problem)
        return {}
    votes: dict[str, list[Choice]] = {}
    for question, column in VOTES_BY.items():
        if column in images:
            margin = config.quality_margin if question == "quality" else 0.0
            votes[question] = [_vote(entry, images[column], margin) for entry in key["pairs"]]
    return votes


def name_pictures(scores: pd.DataFrame) -> str:
    """Name all pictures that scores are of, by one hash; empty where scores do not say."""
    if "image_sha256" not in scores:
        return ""
    hashes = "\n".join(sorted(scores["image_sha256"]))
    return f"pictures {hashlib.sha256(hashes.encode()).hexdigest()[:16]}"


def pictures_of_page(key: Key, scores: pd.DataFrame) -> str:
    """Name the pictures that a page has been counted beside, or say that it shows others.

    A report knows by it whether the votes are about the pictures that it shows itself.
    """
    images = scores.set_index(["experiment", "prompt_id", "method", "index"]).sort_index()
    return "others" if _other_images(key, images) else name_pictures(scores)


def _other_images(key: Key, images: pd.DataFrame) -> str:
    """Say why scores may be of other images than the key's page shows; empty if they are not."""
    if any("image_sha256" not in entry for entry in key["pairs"]) or "image_sha256" not in images:
        return (
            f"the key of the page {key['study']}, or the scores, are of an earlier release and do "
            "not say of which images; run evaluation again"
        )
    differing = [entry for entry in key["pairs"] if not _shows(entry, images["image_sha256"])]
    if differing:
        return (
            f"of {len(differing)} of {len(key['pairs'])} pairs on the page {key['study']} the "
            "catalog has no scores any more, but of images that were drawn since"
        )
    return ""


def _shows(entry: dict[str, Any], hashes: pd.Series[Any]) -> bool:
    """Say whether a pair shows the images that have these hashes."""
    return all(
        hashes.reindex(_cells(entry, method)).to_list() == shown
        for method, shown in entry["image_sha256"].items()
    )


def _vote(entry: dict[str, Any], scores: pd.Series[Any], margin: float) -> Choice:
    """Compare the means of two sets; a set without any score is no better than the other."""
    left, right = (_mean(entry, str(entry[side]), scores) for side in ("left", "right"))
    # The means of four scores are equal but for rounding where the scores are.
    if not np.isfinite(left - right) or abs(left - right) <= margin + 1e-9:
        return "tie"
    return "left" if left > right else "right"


def _mean(entry: dict[str, Any], method: str, scores: pd.Series[Any]) -> float:
    values = scores.reindex(_cells(entry, method)).to_numpy(dtype=np.float64)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _cells(entry: dict[str, Any], method: str) -> list[tuple[Any, ...]]:
    """Return the places of one set's images in the index of the scores."""
    return [(entry["experiment"], entry["prompt_id"], method, noise) for noise in entry["noises"]]
