"""Score images in batches: any scorers, the saturation, and embeddings for the diversity."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpok_pipeline.diffusion.memory import in_parts
from dpok_pipeline.evaluation.diversity import IMAGE
from dpok_pipeline.evaluation.drawing import decode_images
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.scorer import Scorer, ask

logger = logging.getLogger(__name__)


def saturation(images: Tensor) -> Tensor:
    """Return the mean HSV saturation of each image.

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


def score_shards(
    images: Shards,
    scorers: Mapping[str, Scorer],
    embedder: ClipEmbedder,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    scored_by: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score and embed every image of one method, a shard at a time.

    Args:
        images: A method's images, as `drawing.draw_method_images` makes them.
        scorers: Scorers by the name of their column.
        embedder: CLIP's image encoder.
        device: Where the networks are.
        batch_size: Images that go through a network at once; halved when memory runs out.
        scored_by: What identifies scorers and embedder, such as content hashes, as JSON values:
            methods that were scored by others are not compared.

    Returns:
        The scores, one row per image, with `scored_by` in their `attrs`; the CLIP embeddings
        `(rows, d)`, with the columns that say which image each is of.
    """
    # Prompts are told apart by their own columns, and each experiment has others.
    drawn = {key: value for key, value in images.metadata["recipe"].items() if key != "prompts"}
    recipe = fingerprint({"drawn": drawn, "scored": dict(scored_by or {})})
    scores, embeddings = [], []
    for shard in images:
        pixels = decode_images(shard["image"]).to(device)
        hashes = [hashlib.sha256(image["bytes"]).hexdigest() for image in shard["image"]]
        rows = shard.drop(columns="image").assign(image_sha256=hashes, recipe=recipe)
        columns = score_columns(pixels, list(shard["prompt"]), scorers, batch_size)
        scores.append(pd.concat([rows, columns], axis=1))
        vectors = embed_images(pixels, embedder, batch_size)
        names = [f"d{place}" for place in range(vectors.shape[1])]
        table = pd.DataFrame(vectors, columns=names)
        embeddings.append(pd.concat([rows[IMAGE], table], axis=1))
    table = pd.concat(scores, ignore_index=True)
    # Parquet keeps the attributes, so that a later command can say which scorer has changed.
    table.attrs = {"scored_by": dict(scored_by or {})}
    return table, pd.concat(embeddings, ignore_index=True)


@torch.no_grad()
def score_columns(
    images: Tensor,
    prompts: Sequence[str],
    scorers: Mapping[str, Scorer],
    batch_size: int = 64,
) -> pd.DataFrame:
    """Score each image by every scorer, and by its saturation.

    Args:
        images: `(n, 3, h, w)` in [0, 1].
        prompts: The n images' prompts.
        scorers: Scorers by the name of their column.
        batch_size: Images that go through a scorer at once; halved when memory runs out.

    Returns:
        One row per image, one column per scorer, and `saturation`. A score that is not finite is
        NaN, which no mean counts.

    Raises:
        InputError: A scorer failed, or gave anything but one number per image.
    """

    def column(name: str, scorer: Scorer) -> NDArray[np.float32]:
        task = f"scoring images by {name} on {images.device}"
        scores = _numbers(
            in_parts(
                lambda part: ask(scorer, images[part], prompts[part], name),
                len(images),
                batch_size,
                task,
            )
        )
        # An infinite score is none: one of them would make every mean infinite.
        scores = np.where(np.isfinite(scores), scores, np.float32(np.nan))
        unscored = int(np.isnan(scores).sum())
        if unscored:
            logger.warning("%s gave %d of %d images no finite score", name, unscored, len(images))
        return scores

    columns = {name: column(name, scorer) for name, scorer in scorers.items()}
    return pd.DataFrame({**columns, "saturation": _numbers(saturation(images))})


@torch.no_grad()
def embed_images(
    images: Tensor, embedder: ClipEmbedder, batch_size: int = 64
) -> NDArray[np.float32]:
    """Embed images by CLIP.

    Args:
        images: `(n, 3, h, w)` in [0, 1].
        embedder: CLIP's image encoder.
        batch_size: Images that go through it at once; halved when memory runs out.

    Returns:
        `(n, d)`, each of length 1.
    """
    task = f"embedding images on {images.device}"
    return _numbers(
        in_parts(lambda part: embedder.embed(images[part]), len(images), batch_size, task)
    )


def _numbers(values: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = values.float().cpu().numpy()
    return numbers
