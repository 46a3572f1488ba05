"""Scorers small enough to build in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from dpok_pipeline.rewards.heads import ScoreHead
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig

WORDS = ["a", "green", "colored", "rabbit", "cat", "dog", "and", "the", "four", "wolves"]
WORDS += ["in", "park", "on", "moon", "."]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


def tiny_image_reward(**changes: object) -> ImageReward:
    """Random weights, spread out so that one word or one image moves the score visibly."""
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "vision_width": 24,
        "vision_layers": 2,
        "vision_heads": 3,
        "text_width": 32,
        "text_layers": 2,
        "text_heads": 4,
        "text_positions": 40,
        "vocab_size": len(VOCAB) + 2,
        "head_sizes": (16, 8, 8, 4),
        "score_mean": 0.25,
        "score_std": 2.0,
    }
    torch.manual_seed(0)
    model = ImageReward(ImageRewardConfig.model_validate({**sizes, **changes}), VOCAB).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
    return model


@pytest.fixture(scope="session")
def image_reward() -> ImageReward:
    return tiny_image_reward()


def write_clip(folder: Path, width: int = 12) -> Path:
    """A `CLIPModel` with a byte-level tokenizer, as `save_pretrained` writes them."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["."]
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        **tower,
        "vocab_size": len(vocab),
        "max_position_embeddings": 24,
        "bos_token_id": vocab["<|startoftext|>"],
        "eos_token_id": vocab["<|endoftext|>"],
        "pad_token_id": vocab["<|endoftext|>"],
    }
    vision = {**tower, "image_size": 16, "patch_size": 4}
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and parameter.ndim > 1:
                parameter.normal_(0, 1 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def head() -> ScoreHead:
    torch.manual_seed(2)
    return ScoreHead(12, (8, 8, 4, 4)).eval()
