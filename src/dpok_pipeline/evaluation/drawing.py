"""Draw the images that are compared: every method from the same noise, one shard per prompt.

The images of each method are made by themselves, perhaps by different commands. What two methods
must have in common to be compared is the *drawing recipe*, which is kept beside the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import Precision, SamplingConfig
from dpok_pipeline.diffusion.lora import WEIGHTS_NAME, detach_lora, load_lora, read_metadata
from dpok_pipeline.diffusion.sampler import check_finite, decode, image_of, png_bytes, sample
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.evaluation.divergence import divergence_along
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.training.config import Resume
from dpok_pipeline.training.shards import fill_shards

# Measuring the KL runs two networks; on every step it would cost twice what drawing does.
KL_EVERY = 4


def drawing_recipe(
    base_model: str,
    precision: Precision,
    prompts: pd.DataFrame,
    sampling: SamplingConfig,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Return what the images of two methods must have in common to be compared.

    Args:
        base_model: The base model's content hash.
        precision: What its networks compute in.
        prompts: Rows of the prompts table.
        sampling: Steps, η and guidance.
        config: How many images, and the seed of their noise.
    """
    columns = ["prompt_id", "text", "experiment", "split"]
    return {
        "base_model": base_model,
        "compute": {"precision": precision},
        "sampling": sampling.numbers(),
        "evaluation": {"images_per_prompt": config.images_per_prompt, "seed": config.seed},
        "prompts": [list(map(str, row)) for row in prompts[columns].itertuples(index=False)],
    }


def draw_method_images(
    model: DiffusionModel,
    *,
    lora: Path | None,
    method: str,
    prompts: pd.DataFrame,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    work_dir: Path,
    resume: Resume = "auto",
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Draw a method's images of every prompt; whole shards that are there already are kept.

    A shard has one row per noise index and the columns experiment, prompt_id, prompt, split,
    method, index, kl, image (PNG bytes as Hugging Face `datasets` has them).

    Args:
        model: The base model without a LoRA; it is left without one.
        lora: The method's LoRA folder; None is the base model itself.
        method: The method's name.
        prompts: Rows of the prompts table, each of which becomes a shard.
        sampling: Steps, η and guidance.
        config: How many images, and the seed of their noise.
        work_dir: The folder of this method's images alone.
        resume: `never` makes every shard anew.
        metadata: What a reader may want to know of the images. The drawing recipe, the method and
            the sha256 of its LoRA's weights are added to it.

    Returns:
        The folder of the finished shards, as `files.shards.Shards` opens it.

    Raises:
        InputError: The shards that are there were made with other inputs; the LoRA was trained on
            another base model, or does not fit; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the shard is finished and saved.
    """
    recipe = drawing_recipe(model.handle.content_hash, model.precision, prompts, sampling, config)
    weights = None if lora is None else file_sha256(Path(lora) / WEIGHTS_NAME)
    by_method = {"method": method, "lora": weights}
    count = config.images_per_prompt

    def draw_shard(number: int, _: range) -> pd.DataFrame:
        return _draw_prompt(model, method, prompts.iloc[number], sampling, config, lora is None)

    if lora is not None:
        check_trained_on(model, lora)
        load_lora(model.unet, lora)
    try:
        return fill_shards(
            work_dir,
            {**recipe, **by_method, "kernels": model.kernels},
            [range(place * count, (place + 1) * count) for place in range(len(prompts))],
            draw_shard,
            title="Images",
            metadata={**metadata, **by_method, "recipe": recipe},
            resume=resume,
        )
    finally:
        detach_lora(model.unet)


def check_trained_on(model: DiffusionModel, lora: Path) -> None:
    """Refuse a LoRA that says of itself that it was trained on another base model.

    One of the same shape would load, and draw images of nothing that anybody has trained.

    Raises:
        InputError: The base models differ.
    """
    trained_on = read_metadata(lora).get("base_model")
    if trained_on not in (None, model.handle.content_hash):
        raise InputError(
            f"{lora}: trained on the base model {trained_on[:12]}, this one is "
            f"{model.handle.content_hash[:12]}; take the LoRA's own base model, or train it anew"
        )


def decode_images(column: pd.Series) -> Tensor:
    """Read a column of images as `(n, 3, h, w)` float32 in [0, 1]."""
    return torch.stack([image_of(image["bytes"]) for image in column])


def _draw_prompt(
    model: DiffusionModel,
    method: str,
    prompt: pd.Series[Any],
    sampling: SamplingConfig,
    config: EvaluationConfig,
    is_base: bool,
) -> pd.DataFrame:
    """Draw a method's images of one row of the prompts table."""
    images, kl = _images_and_kl(model, str(prompt["text"]), sampling, config, is_base)
    check_finite(images, f"{method} of {prompt['experiment']}, prompt {prompt['text']!r}")
    return pd.DataFrame(
        {
            "experiment": prompt["experiment"],
            "prompt_id": prompt["prompt_id"],
            "prompt": prompt["text"],
            "split": prompt["split"],
            "method": method,
            "index": np.arange(len(images)),
            "kl": kl.numpy(),
            "image": [{"bytes": png_bytes(image), "path": None} for image in images],
        }
    )


def _images_and_kl(
    model: DiffusionModel,
    prompt: str,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    is_base: bool,
) -> tuple[Tensor, Tensor]:
    """Draw images `(n, 3, H, W)` of one prompt, and measure each one's KL `(n,)` to the base."""
    images, divergences = [], []
    indices = range(config.images_per_prompt)
    for start in range(0, len(indices), config.batch_size):
        batch = indices[start : start + config.batch_size]
        texts = [prompt] * len(batch)
        drawn = sample(
            model,
            texts,
            sampling,
            seed=config.seed,
            indices=batch,
            batch_size=config.batch_size,
            keep_trajectory=not is_base,
        )
        images.append(decode(model, drawn.latents, config.batch_size).cpu())
        if drawn.trajectory is None:
            divergences.append(torch.zeros(len(batch)))
        else:
            divergence = divergence_along(
                model,
                texts,
                drawn.trajectory,
                sampling,
                every=KL_EVERY,
                batch_size=drawn.batch_size,
            )
            divergences.append(divergence.cpu())
    return torch.cat(images), torch.cat(divergences)
