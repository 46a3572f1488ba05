"""Models at their published size with random weights: what can be run without a download.

The configurations and vocabularies are the published ones, read from a folder:

    configs/stable-diffusion-v1-5/      the base model's folder without its weights
    tokenizers/bert-base-uncased/       vocab.txt, ImageReward's
    weights/                            sac+logos+ava1-l14-linearMSE.pth, LAION's head
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from dpok_pipeline.errors import InputError

STABLE_DIFFUSION = Path("configs", "stable-diffusion-v1-5")
VOCABULARY = Path("tokenizers", "bert-base-uncased", "vocab.txt")
AESTHETIC_HEAD = Path("weights", "sac+logos+ava1-l14-linearMSE.pth")
LATENT_FACTOR = 8  # pixels per latent, each way


def check_data(data: Path) -> None:
    """Check that the published configurations are there.

    Raises:
        InputError: A file is missing; the message names the first one.
    """
    for name in (STABLE_DIFFUSION / "unet" / "config.json", VOCABULARY, AESTHETIC_HEAD):
        if not (data / name).is_file():
            raise InputError(
                f"{data / name}: no such file; `{Path(__file__).name}` says what this folder holds"
            )


def write_stable_diffusion(data: Path, folder: Path, pixels: int = 512) -> Path:
    """Write Stable Diffusion v1.5 in diffusers' format, float32, with random weights.

    Args:
        data: The folder of the published configurations.
        folder: The model's folder, which is made.
        pixels: Side of its images; it changes no weight.

    Returns:
        The model's folder.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    published = data / STABLE_DIFFUSION
    unet = UNet2DConditionModel.load_config(published / "unet")
    unet["sample_size"] = pixels // LATENT_FACTOR
    torch.manual_seed(0)
    UNet2DConditionModel.from_config(unet).save_pretrained(folder / "unet")
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(published / "vae"))
    vae.save_pretrained(folder / "vae")
    text = CLIPTextConfig.from_pretrained(published / "text_encoder")
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    shutil.copytree(published / "tokenizer", folder / "tokenizer")
    shutil.copytree(published / "scheduler", folder / "scheduler")
    index = json.loads((published / "model_index.json").read_text())
    for unused in ("feature_extractor", "safety_checker"):
        index[unused] = [None, None]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def write_image_reward(data: Path, folder: Path) -> Path:
    """Write ImageReward-v1.0 at its published size with random weights.

    Args:
        data: The folder of the published configurations.
        folder: The model's folder, which is made.

    Returns:
        The model's folder.
    """
    from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig

    torch.manual_seed(1)
    words = (data / VOCABULARY).read_text(encoding="utf-8").splitlines()
    ImageReward(ImageRewardConfig(), words).save(folder)
    return folder


def write_clip(data: Path, folder: Path) -> Path:
    """Write OpenAI's CLIP ViT-L/14 at its published size with random weights.

    Args:
        data: The folder of the published configurations.
        folder: The model's folder, which is made.

    Returns:
        The model's folder.
    """
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "image_size": 224,
        "patch_size": 14,
    }
    torch.manual_seed(2)
    config = CLIPConfig(
        text_config={**text, "projection_dim": 768},
        vision_config={**vision, "projection_dim": 768},
        projection_dim=768,
    )
    CLIPModel(config).save_pretrained(folder)
    for file in (data / STABLE_DIFFUSION / "tokenizer").iterdir():
        shutil.copy(file, folder)
    return folder


def write_aesthetic(data: Path, folder: Path) -> Path:
    """Copy LAION's published head, which is small, so that its weights are the real ones.

    Args:
        data: The folder of the published configurations.
        folder: The folder for the head's file, which is made.

    Returns:
        The file.
    """
    folder.mkdir(parents=True)
    return Path(shutil.copy(data / AESTHETIC_HEAD, folder))
