"""Pre-train the reward model before it learns to rank.

The published ImageReward starts from a BLIP that has learned to caption. Here the image half takes
over the weights of the world's CLIP, and the text half learns to caption right renders. From fresh
weights, ranking alone stays at chance for longer than anyone would wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel

from dpok_pipeline.emoji_world.building.corpus import sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scenes import scene_of
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.rewards.image_reward import ImageReward
from dpok_pipeline.rewards.preprocessing import normalise

PRETRAINING_PICTURES = 6144
IGNORED = -100  # label that cross-entropy leaves out


@torch.no_grad()
def take_over_image_half(model: ImageReward, clip: CLIPModel, sprites: SpriteSheet) -> None:
    """Copy a CLIP vision transformer into a BLIP one of equal width and depth.

    CLIP has a normalisation before its first layer, and BLIP has none. It is folded into the
    embeddings, exactly for the class token, and for the patches by the mean deviation over 256
    renders. BLIP's wider feed-forward layers keep their values where CLIP has none.

    Args:
        model: The reward model, whose `vision` is overwritten.
        clip: The CLIP whose weights are copied.
        sprites: The sprites that renders are made of.
    """
    pictures, _ = _captioned_renders(256, sprites, np.random.default_rng(0))
    donor, vision = clip.vision_model, model.vision
    embeddings, target = donor.embeddings, vision.embeddings
    tokens = embeddings(normalise(pictures))  # (n, 1 + patches, width)
    scale = 1 / tokens.std(dim=-1, correction=0).mean(dim=0)  # (1 + patches,)
    gain, shift = donor.pre_layrnorm.weight, donor.pre_layrnorm.bias
    positions = _centred(embeddings.position_embedding.weight) * scale[:, None] * gain + shift
    target.position_embedding.copy_(positions[None])
    target.class_embedding.copy_(
        (_centred(embeddings.class_embedding) * scale[0] * gain)[None, None]
    )
    filters = embeddings.patch_embedding.weight
    filters = (filters - filters.mean(dim=0)) * (scale[1:].mean() * gain)[:, None, None, None]
    target.patch_embedding.weight.copy_(filters)
    target.patch_embedding.bias.zero_()
    vision.post_layernorm.load_state_dict(donor.post_layernorm.state_dict())
    for source, copy in zip(donor.encoder.layers, vision.encoder.layers, strict=True):
        _copy_layer(source, copy)


def pretrain_text_half(
    model: ImageReward,
    sprites: SpriteSheet,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Teach the text half to caption, by BLIP's language-modelling loss.

    `model` is updated in place. Its image half is frozen, so that its features are computed once.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    features, sentences = _captioned_features(model, sprites, rng)
    tokens, mask = model.tokenise(sentences)
    targets = tokens.masked_fill(mask == 0, IGNORED)
    words = model.text.embeddings.word_embeddings.weight
    model.train().requires_grad_(True)
    model.vision.requires_grad_(False)

    def loss_of_step(step: int) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(tokens), size=batch_size))
        hidden = model.text(
            input_ids=tokens[rows],
            attention_mask=mask[rows],
            encoder_hidden_states=features[rows].float(),
            is_decoder=True,  # Each word attends to the words before it only.
        ).last_hidden_state
        # Each position predicts the next word: (b, t - 1, vocabulary).
        logits = (hidden[:, :-1] @ words.T).float()
        return functional.cross_entropy(
            logits.flatten(0, 1), targets[rows, 1:].flatten(), ignore_index=IGNORED
        )

    name = "reward (captioning)"
    trained = train(model, loss_of_step, steps=steps, learning_rate=learning_rate, name=name)
    model.load_state_dict(trained.state_dict())


@torch.no_grad()
def _captioned_features(
    model: ImageReward, sprites: SpriteSheet, rng: np.random.Generator
) -> tuple[Tensor, list[str]]:
    """Return image features `(n, tokens, width)` of right renders in bfloat16, and sentences."""
    features, sentences = [], []
    for _ in range(PRETRAINING_PICTURES // 128):
        pictures, captions = _captioned_renders(128, sprites, rng)
        hidden = model.vision(pixel_values=normalise(pictures)).last_hidden_state
        features.append(hidden.bfloat16())
        sentences += captions
    return torch.cat(features), sentences


def _captioned_renders(
    count: int, sprites: SpriteSheet, rng: np.random.Generator
) -> tuple[Tensor, list[str]]:
    """Draw right pictures `(count, 3, 64, 64)` in [0, 1], and return them with their sentences."""
    captions = [sample_caption(rng) for _ in range(count)]
    pictures = to_tensor([render(scene_of(caption, rng), sprites, rng) for caption in captions])
    return pictures, [caption.sentence() for caption in captions]


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=-1, keepdim=True)


def _copy_layer(source: Any, copy: Any) -> None:
    """Copy a CLIP layer into a BLIP layer, whose query, key and value are one projection."""
    attention = source.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    copy.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in projections]))
    copy.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in projections]))
    copy.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
    copy.layer_norm1.load_state_dict(source.layer_norm1.state_dict())
    copy.layer_norm2.load_state_dict(source.layer_norm2.state_dict())
    width = source.mlp.fc1.out_features
    copy.mlp.fc1.weight[:width] = source.mlp.fc1.weight
    copy.mlp.fc1.bias[:width] = source.mlp.fc1.bias
    copy.mlp.fc2.weight[:, :width] = source.mlp.fc2.weight
    copy.mlp.fc2.bias.copy_(source.mlp.fc2.bias)
