"""Diversity of a set of images: the mean pairwise distance of their CLIP embeddings."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpok_pipeline.errors import InputError

Array = NDArray[np.float64]

#: Which image a row of scores or of embeddings is of. The first three are the same at every
#: evaluation; the hash tells apart what was drawn with other LoRAs.
IMAGE = ["prompt_id", "method", "index", "image_sha256"]


def align(scores: pd.DataFrame, embeddings: pd.DataFrame) -> pd.DataFrame:
    """Put embeddings `(rows, d)` into the order of the scores, image by image.

    Args:
        scores: One row per image, with the columns `IMAGE`.
        embeddings: The columns `IMAGE`, and d others.

    Raises:
        InputError: They are not of the same images, such as after a crash between the two.
    """
    comparable = {*IMAGE} <= {*scores.columns} & {*embeddings.columns}
    joined = scores[IMAGE].merge(embeddings, on=IMAGE) if comparable else embeddings[:0]
    if not len(joined) == len(scores) == len(embeddings):
        raise InputError(
            f"embeddings: {len(embeddings)} rows, of which {len(joined)} are of the {len(scores)} "
            "images in scores; run evaluation again, which makes both"
        )
    return joined.drop(columns=IMAGE)


def cosine_distances(embeddings: NDArray[np.floating]) -> Array:
    """Return the cosine distance of every pair, `(n, d) -> (n, n)`, 0 on the diagonal."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances: Array = 1 - vectors @ vectors.T
    np.fill_diagonal(distances, 0)  # rounding leaves about 1e-16 there
    return distances


def mean_pairwise_distance(distances: Array) -> float:
    """Average `(n, n)` over the pairs of two different images; NaN for fewer than two."""
    count = len(distances)
    if count < 2:
        return float("nan")
    # The diagonal is 0, so the sum counts each unordered pair twice and nothing else.
    return float(distances.sum() / (count * (count - 1)))
