"""Train the small CLIP, for the base model's text encoder and the aesthetic score's image half.

It learns as CLIP did, by matching pictures with captions within a batch, from the same partly wrong
captions as the base model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from dpok_pipeline.emoji_world.building.corpus import noisy_scene, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE
from dpok_pipeline.rewards.preprocessing import normalise

TOKEN_LIMIT = 24  # enough for the longest sentence of the grammar, of 11 words
START, END = "<|startoftext|>", "<|endoftext|>"


class WorldClip(NamedTuple):
    """A CLIP and its tokenizer, kept in one folder."""

    model: CLIPModel
    tokenizer: CLIPTokenizer

    def save_pretrained(self, folder: Path) -> None:
        """Write both into one folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: Path) -> WorldClip:
        """Load both from one folder."""
        return cls(
            CLIPModel.from_pretrained(folder, use_safetensors=True).eval(),
            CLIPTokenizer.from_pretrained(folder),
        )

    def text_encoder(self) -> CLIPTextModel:
        """Return the text half as the class that Stable Diffusion uses."""
        encoder = CLIPTextModel(self.model.config.text_config)
        encoder.load_state_dict(self.model.text_model.state_dict())
        return encoder.eval().requires_grad_(False)


def build_tokenizer(seed: int = 0) -> CLIPTokenizer:
    """Learn byte pairs from captions, and return them as CLIP's tokenizer.

    The alphabet is CLIP's, of 256 bytes, so that any text can be tokenised.
    """
    rng = np.random.default_rng(seed)
    corpus = [sample_caption(rng).sentence() for _ in range(5000)]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=2000, end_of_word_suffix="</w>", show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # CLIP's order is every byte, every byte that ends a word, then the merges as learned.
    tokens = alphabet + [f"{letter}</w>" for letter in alphabet]
    tokens += [token for token, _ in sorted(state["vocab"].items(), key=lambda item: item[1])
               if token not in set(tokens)]  # fmt: skip
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    merges = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=TOKEN_LIMIT,
        bos_token=START, eos_token=END, pad_token=END, unk_token=END,
    )  # fmt: skip


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return the untrained network, two transformers of width 128 and a 64-value joint space."""
    end = tokenizer.convert_tokens_to_ids(END)
    start = tokenizer.convert_tokens_to_ids(START)
    shared = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 384}
    config = CLIPConfig(
        text_config={**shared, "num_hidden_layers": 3, "vocab_size": len(tokenizer),
                     "max_position_embeddings": TOKEN_LIMIT, "bos_token_id": start,
                     "eos_token_id": end, "pad_token_id": end, "projection_dim": 64},
        vision_config={**shared, "num_hidden_layers": 4, "image_size": IMAGE_SIZE,
                       "patch_size": 8, "projection_dim": 64},
        projection_dim=64,
    )  # fmt: skip
    return CLIPModel(config)


def tokenize(tokenizer: CLIPTokenizer, sentences: list[str]) -> Tensor:
    """Return padded token ids `(n, TOKEN_LIMIT)`."""
    ids = tokenizer(sentences, padding="max_length", truncation=True, return_tensors="pt")
    return ids["input_ids"]


def contrastive_loss(logits: Tensor, captions: list[Caption]) -> Tensor:
    """Return CLIP's symmetric cross-entropy, where equal captions share the target.

    Args:
        logits: Similarity of picture (row) and caption (column), `(b, b)`.
        captions: The b captions.
    """
    # Captions recur within a batch, and a picture answers all equal ones equally well: (b, b).
    same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
    target = same / same.sum(dim=1, keepdim=True)
    rows = -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()
    columns = -(target * functional.log_softmax(logits, dim=0)).sum(dim=0).mean()
    return (rows + columns) / 2


def train_clip(
    sprites: SpriteSheet,
    tokenizer: CLIPTokenizer,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> CLIPModel:
    """Train both halves together, and return them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def loss_of_step(step: int) -> Tensor:
        captions = [sample_caption(rng) for _ in range(batch_size)]
        scenes = [noisy_scene(caption, rng) for caption in captions]
        images = to_tensor([render(scene, sprites, rng) for scene in scenes])
        output = network(
            input_ids=tokenize(tokenizer, [caption.sentence() for caption in captions]),
            pixel_values=normalise(images),
        )
        return contrastive_loss(output.logits_per_image.float(), captions)

    network = new_clip(tokenizer)
    return train(network, loss_of_step, steps=steps, learning_rate=learning_rate, name="clip")
