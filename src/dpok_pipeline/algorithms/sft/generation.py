"""The SFT data set: images of the frozen base model with rewards, made in shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import Precision, SamplingConfig
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import decode, png_bytes, sample
from dpok_pipeline.rewards.scorer import Scorer
from dpok_pipeline.training.config import GenerationConfig, Resume
from dpok_pipeline.training.scoring import check_prompts, score_rewards
from dpok_pipeline.training.shards import fill_shards

if TYPE_CHECKING:
    import pandas as pd


def generate_samples(
    model: DiffusionModel,
    prompts: Sequence[tuple[str, str]],
    reward: Scorer,
    *,
    sampling: SamplingConfig,
    config: GenerationConfig,
    work_dir: Path,
    identity: str | Mapping[str, object] = "",
    resume: Resume = "auto",
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Make the images shard by shard; whole shards that are in `work_dir` already are kept.

    Image j has prompt j mod n and its own noise, so a shard does not depend on the others, nor
    on the batch size but for rounding. Memory holds one shard's latents and PNGs. A shard has the
    columns prompt_id, prompt, index and seed (which with `sample` give the latent again), reward
    (NaN where it gave no finite number), latent (flat float32), latent_shape, image (PNG bytes as
    Hugging Face `datasets` has them).

    Args:
        model: The base model; a LoRA, if attached, is switched off.
        prompts: n pairs of prompt_id and text.
        reward: Scores images.
        sampling: Steps, η and guidance.
        config: How many images, in how large shards.
        work_dir: The folder of this run alone.
        identity: What identifies the reward model, such as its content hash.
        resume: `never` makes every shard anew.
        metadata: What a reader may want to know of the finished shards.

    Returns:
        The folder of the finished shards, as `files.shards.Shards` opens it.

    Raises:
        InputError: Prompts or reward cannot be used; the shards that are there were made with
            other arguments; another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the shard is finished and saved.
    """
    check_prompts([text for _, text in prompts])
    starts = range(0, config.images, config.shard_size)
    return fill_shards(
        work_dir,
        {
            **samples_recipe(
                model.handle.content_hash, model.precision, prompts, sampling, config, identity
            ),
            "kernels": model.kernels,
        },
        [range(start, min(start + config.shard_size, config.images)) for start in starts],
        lambda number, rows: _make_shard(model, prompts, reward, sampling, config, rows),
        title="SFT data",
        metadata=metadata,
        resume=resume,
    )


def samples_recipe(
    base_model: str,
    precision: Precision,
    prompts: Sequence[tuple[str, str]],
    sampling: SamplingConfig,
    config: GenerationConfig,
    identity: str | Mapping[str, object],
) -> dict[str, Any]:
    """Return everything that decides the samples.

    Args:
        base_model: The base model's content hash.
        precision: What its networks compute in.
        prompts: Pairs of prompt_id and text.
        sampling: Steps, η and guidance.
        config: How many images, in how large shards.
        identity: What identifies the reward model.
    """
    return {
        "sample_generation": config.numbers(),
        "sampling": sampling.numbers(),
        "base_model": base_model,
        "compute": {"precision": precision},
        "reward_model": identity,
        "prompts": [list(pair) for pair in prompts],
    }


def _make_shard(
    model: DiffusionModel,
    prompts: Sequence[tuple[str, str]],
    reward: Scorer,
    sampling: SamplingConfig,
    config: GenerationConfig,
    indices: range,
) -> pd.DataFrame:
    import pandas as pd

    seed = derive_seed(config.seed, "sft samples")
    rows = [prompts[index % len(prompts)] for index in indices]
    texts = [text for _, text in rows]
    with reference_policy(model.unet):
        latents = sample(
            model, texts, sampling, seed=seed, indices=indices, batch_size=config.batch_size
        ).latents
    pngs: list[bytes] = []
    rewards: list[float] = []
    for start in range(0, len(texts), config.batch_size):
        part = slice(start, start + config.batch_size)
        images = decode(model, latents[part], config.batch_size)
        scores = score_rewards(reward, images, texts[part])
        # Training may go on with a stand-in for a missing reward; data may not make one up.
        rewards += torch.where(scores.scored, scores.rewards, torch.nan).tolist()
        pngs += [png_bytes(image) for image in images.cpu()]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id for prompt_id, _ in rows],
            "prompt": texts,
            "index": list(indices),
            "seed": seed,
            "reward": np.asarray(rewards, np.float32),
            "latent": list(latents.flatten(1).cpu().numpy()),  # (n, c, h, w) → n × (chw,)
            "latent_shape": [list(model.latent_shape)] * len(texts),
            "image": [{"bytes": png, "path": None} for png in pngs],
        }
    )
