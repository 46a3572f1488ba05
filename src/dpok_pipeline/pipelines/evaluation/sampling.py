"""Draws the images that are compared: base, SFT and DPOK from the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import Tensor

    from dpok_pipeline.diffusion.base_model import DiffusionModel
    from dpok_pipeline.diffusion.config import SamplingConfig
    from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig

# Measuring the KL runs two networks; on every step it would cost twice what drawing does.
KL_EVERY = 4


def sample_models(
    model: DiffusionModel,
    loras: dict[str, Path | None],
    prompts: pd.DataFrame,
    sampling: SamplingConfig,
    config: EvaluationConfig,
) -> Iterator[pd.DataFrame]:
    """Yield the images of each model and prompt as one frame.

    Args:
        model: The base model, without a LoRA.
        loras: For each model's name its LoRA folder; None is the base model itself.
        prompts: Rows of the prompts table.
        sampling: Steps, η and guidance.
        config: How many images, and their seed.

    Yields:
        Columns experiment, prompt_id, prompt, split, model, index, kl, image.
    """
    from dpok_pipeline.algorithms.sft.generation import png_bytes
    from dpok_pipeline.diffusion.lora import detach_lora, load_lora

    for name, folder in loras.items():
        if folder is not None:
            load_lora(model.unet, folder)
        for prompt in prompts.itertuples():
            images, kl = _images_and_kl(model, str(prompt.text), sampling, config, folder is None)
            yield pd.DataFrame(
                {
                    "experiment": prompt.experiment,
                    "prompt_id": prompt.prompt_id,
                    "prompt": prompt.text,
                    "split": prompt.split,
                    "model": name,
                    "index": np.arange(config.images_per_prompt),
                    "kl": kl.numpy(),
                    "image": [{"bytes": png_bytes(image), "path": None} for image in images],
                }
            )
        detach_lora(model.unet)


def _images_and_kl(
    model: DiffusionModel,
    prompt: str,
    sampling: SamplingConfig,
    config: EvaluationConfig,
    is_base: bool,
) -> tuple[Tensor, Tensor]:
    """Images `(n, 3, H, W)` of one prompt, and each one's KL `(n,)` to the base model."""
    import torch

    from dpok_pipeline.diffusion.decode import decode
    from dpok_pipeline.diffusion.sampler import sample
    from dpok_pipeline.evaluation.divergence import divergence_along

    images, divergences = [], []
    indices = range(config.images_per_prompt)
    for start in range(0, len(indices), config.batch_size):
        batch = indices[start : start + config.batch_size]
        texts = [prompt] * len(batch)
        drawn = sample(
            model, texts, sampling, seed=config.seed, indices=batch, keep_trajectory=not is_base
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


def decode_images(column: pd.Series) -> Tensor:
    """Read a column of images as `(n, 3, h, w)` float32 in [0, 1]."""
    import torch
    from PIL import Image

    arrays = [np.asarray(Image.open(BytesIO(image["bytes"])).convert("RGB")) for image in column]
    stacked = torch.from_numpy(np.stack(arrays))  # (n, h, w, 3)
    return stacked.permute(0, 3, 1, 2).float() / 255
