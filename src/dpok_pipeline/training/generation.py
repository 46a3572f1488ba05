"""The SFT data set: images of the frozen base model with rewards, made in shards."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from tqdm import tqdm

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.decode import decode
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.training.checkpoints import fingerprint, write_durably
from dpok_pipeline.training.config import GenerationConfig
from dpok_pipeline.training.guards import check_prompts, score_images

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
    identity: str = "",
) -> Iterator[pd.DataFrame]:
    """Make the images shard by shard; shards that are in `work_dir` already are only read.

    Image j has prompt j mod n and its own noise, so a shard does not depend on the others.

    Args:
        model: the base model; a LoRA, if attached, is switched off.
        prompts: n pairs of prompt_id and text.
        reward: scores images.
        sampling: steps, η and guidance.
        config: how many.
        work_dir: of this run alone.
        identity: what else decides the numbers, such as the reward model's content hash.

    Yields:
        Frames of at most `shard_size` rows: prompt_id, prompt, index and seed (which with
        `sample` give the latent again), reward, latent (flat float32), latent_shape, image (PNG
        bytes as Hugging Face `datasets` has them).

    Raises:
        InputError: unusable prompts or reward.
    """
    import pandas as pd

    check_prompts([text for _, text in prompts])
    _open_work_folder(work_dir, model, prompts, sampling, config, identity)
    with tqdm(total=config.images, desc="SFT data", unit="image") as bar:
        for number, first in enumerate(range(0, config.images, config.shard_size)):
            path = work_dir / f"shard-{number:05d}.parquet"
            if path.exists():
                frame = pd.read_parquet(path)
            else:
                last = min(first + config.shard_size, config.images)
                indices = range(first, last)
                frame = _make_shard(model, prompts, reward, sampling, config, indices)
                partial = path.with_name(path.name + ".partial")
                write_durably(partial, _parquet_bytes(frame))
                partial.replace(path)
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
    images = decode(model, latents, config.batch_size)
    starts = range(0, len(texts), config.batch_size)
    rewards = [
        score
        for start in starts
        for score in score_images(
            reward,
            images[start : start + config.batch_size],
            texts[start : start + config.batch_size],
        ).tolist()
    ]
    return pd.DataFrame(
        {
            "prompt_id": [prompt_id for prompt_id, _ in chosen],
            "prompt": texts,
            "index": list(indices),
            "seed": seed,
            "reward": np.asarray(rewards, np.float32),
            "latent": list(latents.flatten(1).cpu().numpy()),
            "latent_shape": [list(model.latent_shape)] * len(texts),
            "image": [{"bytes": png_bytes(image), "path": None} for image in images.cpu()],
        }
    )


def png_bytes(image: Tensor) -> bytes:
    """`(3, H, W)` in [0, 1] to a PNG file's content."""
    from PIL import Image

    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _parquet_bytes(frame: pd.DataFrame) -> bytes:
    content: bytes = frame.to_parquet(index=False)
    return content


def _open_work_folder(
    work_dir: Path,
    model: DiffusionModel,
    prompts: Sequence[tuple[str, str]],
    sampling: SamplingConfig,
    config: GenerationConfig,
    identity: str,
) -> None:
    """Make the folder, or empty it where it holds another run's shards."""
    parts = {
        "config": config.model_dump(exclude={"batch_size"}),
        "sampling": sampling.model_dump(),
        "prompts": [list(pair) for pair in prompts],
        "base_model": model.handle.content_hash,
        "precision": model.precision,
        "identity": identity,
    }
    mark = work_dir / "fingerprint.json"
    wanted = {"fingerprint": fingerprint(parts)}
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted:
        return
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    write_durably(mark, json.dumps(wanted).encode())
