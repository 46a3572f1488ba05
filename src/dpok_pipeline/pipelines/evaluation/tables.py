"""The tables of an experiment: the scores and embeddings of several methods, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Tables(NamedTuple):
    """Scores and embeddings of several methods.

    Attributes:
        scores: One row per image.
        embeddings: CLIP embeddings `(rows, d)` in the order of `scores`.
    """

    scores: pd.DataFrame
    embeddings: np.ndarray


def join_methods(tables: Sequence[pd.DataFrame]) -> Tables:
    """Join the tables of one experiment.

    Args:
        tables: Scores of each method, then embeddings of each method in the same order.

    Raises:
        InputError: Scores and embeddings are of different images.
    """
    from dpok_pipeline.evaluation.diversity import align

    half = len(tables) // 2
    scores = pd.concat(tables[:half], ignore_index=True)
    embeddings = pd.concat(tables[half:], ignore_index=True)
    return Tables(scores, align(scores, embeddings).to_numpy())
