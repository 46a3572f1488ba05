"""Score images in batches: any scorers, the saturation, and embeddings for the diversity."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.rewards.wrappers import one_number_each

logger = logging.getLogger(__name__)


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
        batch_size: images that go through a scorer at once; halved when memory runs out.

    Raises:
        InputError: a scorer gave anything but one number per image.
    """

    def column(name: str, scorer: Scorer) -> NDArray[np.float32]:
        def score(part: slice) -> Tensor:
            texts = prompts[part]
            return one_number_each(scorer.score(images[part], texts), len(texts), name)

        task = f"scoring images by {name} on {images.device}"
        scores = _numbers(in_parts(score, len(images), batch_size, task))
        unscored = int((~np.isfinite(scores)).sum())
        if unscored:
            logger.warning("%s gave %d of %d images no finite score", name, unscored, len(images))
        return scores

    columns = {name: column(name, scorer) for name, scorer in scorers.items()}
    return pd.DataFrame({**columns, "saturation": _numbers(saturation(images))})


@torch.no_grad()
def embed_images(
    images: Tensor, embedder: ClipEmbedder, batch_size: int = 64
) -> NDArray[np.float32]:
    """CLIP embeddings `(n, d)` of length 1 of images `(n, 3, h, w)` in [0, 1].

    `batch_size` images go through CLIP at once; halved when memory runs out.
    """
    task = f"embedding images on {images.device}"
    return _numbers(
        in_parts(lambda part: embedder.embed(images[part]), len(images), batch_size, task)
    )


def _numbers(values: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = values.float().cpu().numpy()
    return numbers
