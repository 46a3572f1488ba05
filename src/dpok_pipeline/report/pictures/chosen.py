"""The images of an experiment that its reports show: which ones, and how they are kept.

A frame of *pictures* has one row per image, with the columns method, prompt_id and index, which
say which image it is, and webp, its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import pandas as pd
from PIL import Image

from dpok_pipeline.evaluation.names import BASE
from dpok_pipeline.report.pictures.galleries import GALLERY_SIZE, PICTURE, hacked, worst
from dpok_pipeline.report.pictures.webp import as_webp

#: Noises of a prompt that are shown of every method: the first, not chosen.
NOISES = 8
#: How an image is kept: small ones without loss, because a page enlarges them.
SMALL, LARGE = {"side": 128, "lossless": True}, {"side": 256, "quality": 88}

COLUMNS = [*PICTURE, "webp"]


def no_pictures() -> pd.DataFrame:
    """Return a frame of pictures without any."""
    return pd.DataFrame(columns=COLUMNS)


def first_noises(scores: pd.DataFrame, split: str) -> pd.DataFrame:
    """Select the rows of every method that a grid shows: a split's first prompt and noises.

    Args:
        scores: Scores of one experiment.
        split: `train` or `unseen`.

    Returns:
        Rows of `scores`; none where the split has no prompt.
    """
    rows = scores[scores["split"] == split]
    first: pd.DataFrame = rows[rows["prompt_id"] == rows["prompt_id"].min()]
    return first.loc[first["index"] < NOISES]


def choose_pictures(scores: pd.DataFrame, shards: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Choose what reports show of an experiment, by its scores alone, and make it small.

    These are the first noises of a training and an unseen prompt, and the galleries' images with
    those of the base model from the same noise.

    Args:
        scores: Scores of base model and methods.
        shards: All their images, as `evaluation.drawing` makes them.

    Returns:
        A frame of pictures, in the order of the shards.
    """
    wanted = _wanted(scores)
    parts = [no_pictures()]
    for shard in shards:
        found = shard.merge(wanted, on=PICTURE)
        webp = [_kept(image["bytes"]) for image in found["image"]]
        parts.append(found[PICTURE].assign(webp=webp))
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def _kept(image: bytes) -> bytes:
    is_small = max(Image.open(BytesIO(image)).size) <= SMALL["side"]
    return as_webp(image, SMALL if is_small else LARGE)


def _wanted(scores: pd.DataFrame) -> pd.DataFrame:
    """List the keys of the images that are shown, each once."""
    parts = [first_noises(scores, split) for split in ("train", "unseen")]
    for method in scores["method"].unique():
        if method == BASE.name:
            continue
        for ordered in (worst(scores, method), hacked(scores, method)):
            gallery = ordered.head(GALLERY_SIZE)
            parts += [gallery, gallery.assign(method=BASE.name)]
    return pd.concat(parts)[PICTURE].drop_duplicates()
