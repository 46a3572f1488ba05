"""Diversity of a set of images: the mean pairwise distance of their CLIP embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cosine_distances(embeddings: NDArray[np.floating]) -> Array:
    """Cosine distance of every pair, `(n, d) -> (n, n)`, 0 on the diagonal."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances: Array = 1 - vectors @ vectors.T
    np.fill_diagonal(distances, 0)
    return distances


def mean_pairwise_distance(distances: Array) -> float:
    """Mean of `(n, n)` over the pairs of two different images; NaN for fewer than two."""
    count = len(distances)
    if count < 2:
        return float("nan")
    return float(distances.sum() / (count * (count - 1)))
