"""Score images in batches: any scorers, the saturation, and embeddings for the diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.protocol import Scorer


def saturation(images: Tensor) -> Tensor:
    """Mean HSV saturation of each image.

    S = (max - min) / max over the three channels, 0 for black.

    Args:
        images: `(b, 3, h, w)` in [0, 1].

    Returns:
        `(b,)` in [0, 1].
    """
    images = images.float()
    highest, lowest = images.amax(1), images.amin(1)  # (b, h, w)
    # Where the pixel is black both are 0 and so is the quotient.
    return ((highest - lowest) / highest.clamp(min=1e-12)).mean((1, 2))


@torch.no_grad()
def score_images(
    images: Tensor,
    prompts: Sequence[str],
    scorers: Mapping[str, Scorer],
    batch_size: int = 64,
) -> pd.DataFrame:
    """One row per image, one column per scorer, and `saturation`.

    Args:
        images: `(n, 3, h, w)` in [0, 1].
        prompts: n prompts.
        scorers: by the name of their column.
        batch_size: images that go through a scorer at once.
    """
    columns = [*scorers, "saturation"]
    empty = np.empty(0, dtype=np.float32)
    parts = [dict.fromkeys(columns, empty)]  # so that no images give an empty frame
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        texts = prompts[start : start + batch_size]
        part = {name: _numbers(scorer.score(batch, texts)) for name, scorer in scorers.items()}
        parts.append({**part, "saturation": _numbers(saturation(batch))})
    return pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in columns})


@torch.no_grad()
def embed_images(
    images: Tensor, embedder: ClipEmbedder, batch_size: int = 64
) -> NDArray[np.float32]:
    """CLIP embeddings `(n, d)` of length 1 of images `(n, 3, h, w)` in [0, 1]."""
    return np.concatenate(
        [_numbers(embedder.embed(batch)) for batch in torch.split(images, batch_size)]
    )


def _numbers(values: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = values.float().cpu().numpy()
    return numbers
