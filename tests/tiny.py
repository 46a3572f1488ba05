"""A random model of Stable Diffusion's architecture, so small that a forward takes milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("a", "cat", "dog", "and", "on", "the", "moon", "green", "colored", "rabbit", "in", "park")
TOKENS = 12


def write_tokenizer(folder: Path) -> None:
    """A real CLIPTokenizer: every letter, the words above by their merges, start and end."""
    from transformers import CLIPTokenizer

    letters = sorted({*"abcdefghijklmnopqrstuvwxyz.,", *"0123456789"})
    merges: list[str] = []
    pieces: list[str] = []
    for word in WORDS:
        left = word[0] if len(word) > 1 else word + "</w>"
        for position, letter in enumerate(word[1:], start=1):
            right = letter + "</w>" if position == len(word) - 1 else letter
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
                pieces.append(left + right)
            left += right
    tokens = [*letters, *(letter + "</w>" for letter in letters), *pieces]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS
    ).save_pretrained(folder)
    if not (folder / "vocab.json").is_file():
        raise AssertionError("the tokenizer's own files have been renamed")


def write_base_model(folder: Path, *, latent_size: int = 8, seed: int = 0) -> Path:
    """Write unet, vae (factor 4), text_encoder, tokenizer and scheduler in diffusers' layout."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    write_tokenizer(folder / "tokenizer")
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=latent_size,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            cross_attention_dim=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
            sample_size=latent_size * 4,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=TOKENS,
                bos_token_id=vocabulary["<|startoftext|>"],
                eos_token_id=vocabulary["<|endoftext|>"],
                pad_token_id=vocabulary["<|endoftext|>"],
            )
        )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    write_index(folder)
    return folder


def write_index(folder: Path) -> None:
    """`model_index.json`, with which plain diffusers opens the folder as a pipeline."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
