"""The SFT data set: images of the frozen base model with rewards, made in shards."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.files.locks import claim
from dpok_pipeline.files.shards import ShardStore
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.config import GenerationConfig, Resume
from dpok_pipeline.training.scoring import check_prompts, score_images
from dpok_pipeline.training.signals import stop_requests

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
) -> Iterator[pd.DataFrame]:
    """Make the images shard by shard; whole shards that are in `work_dir` already are only read.

    Image j has prompt j mod n and its own noise, so a shard does not depend on the others, nor
    on the batch size but for rounding. Memory holds one shard's latents and PNGs.

    Args:
        model: the base model; a LoRA, if attached, is switched off.
        prompts: n pairs of prompt_id and text.
        reward: scores images.
        sampling: steps, η and guidance.
        config: how many.
        work_dir: of this run alone.
        identity: of the reward model, such as its content hash.
        resume: `never` makes every shard anew.

    Yields:
        Frames of at most `shard_size` rows: prompt_id, prompt, index and seed (which with
        `sample` give the latent again), reward (NaN where it gave no finite number), latent (flat
        float32), latent_shape, image (PNG bytes as Hugging Face `datasets` has them).

    Raises:
        InputError: unusable prompts or reward; shards that were made with other arguments;
            another process is in `work_dir`.
        Stopped: SIGINT or SIGTERM came; the shard is finished and saved.
    """
    check_prompts([text for _, text in prompts])
    made_by = {
        "sample_generation": config.model_dump(exclude={"batch_size"}),
        "sampling": sampling.model_dump(),
        "base_model": model.handle.content_hash,
        "compute": {"precision": model.precision},
        "reward_model": identity,
        "prompts": [list(pair) for pair in prompts],
    }
    with claim(work_dir):
        store = ShardStore(work_dir, made_by, resume)
        with tqdm(total=config.images, desc="SFT data", unit="image") as bar:
            for number, first in enumerate(range(0, config.images, config.shard_size)):
                indices = range(first, min(first + config.shard_size, config.images))
                frame = store.read(number, indices)
                if frame is None:
                    with stop_requests("shard") as stop:
                        frame = _make_shard(model, prompts, reward, sampling, config, indices)
                        store.write(number, frame)
                        stop.obey()
                yield frame
                bar.update(len(frame))


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
    chosen = [prompts[index % len(prompts)] for index in indices]
    texts = [text for _, text in chosen]
    with reference_policy(model.unet):
        latents = sample(
            model, texts, sampling, seed=seed, indices=indices, batch_size=config.batch_size
        ).latents
    pngs: list[bytes] = []
    rewards: list[float] = []
    for start in range(0, len(texts), config.batch_size):
        part = slice(start, start + config.batch_size)
        images = decode(model, latents[part], config.batch_size)
        scores = score_images(reward, images, texts[part])
        # Training may go on with a stand-in for a missing reward; data may not make one up.
        rewards += torch.where(scores.scored, scores.rewards, torch.nan).tolist()
        pngs += [png_bytes(image) for image in images.cpu()]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id for prompt_id, _ in chosen],
            "prompt": texts,
            "index": list(indices),
            "seed": seed,
            "reward": np.asarray(rewards, np.float32),
            "latent": list(latents.flatten(1).cpu().numpy()),
            "latent_shape": [list(model.latent_shape)] * len(texts),
            "image": [{"bytes": png, "path": None} for png in pngs],
        }
    )


def png_bytes(image: Tensor) -> bytes:
    """`(3, H, W)` in [0, 1] to a PNG file's content."""
    from PIL import Image

    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
