"""Where the reward model starts from.

The published ImageReward starts from a BLIP that has learned to caption. So does this one: its
image half takes over the weights of the world's CLIP, its text half learns to caption right
renders. From fresh weights, ranking alone stays at chance for longer than anyone would wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel

from dpok_pipeline.emoji_world.building.clip import normalise
from dpok_pipeline.emoji_world.building.corpus import sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scenes import scene_of
from dpok_pipeline.emoji_world.sprites import SpriteSheet
from dpok_pipeline.rewards.image_reward import ImageReward

PRETRAINING_PICTURES = 6144
IGNORED = -100  # cross-entropy's "no word here"


@torch.no_grad()
def take_over_image_half(model: ImageReward, clip: CLIPModel, sprites: SpriteSheet) -> None:
    """Copy a CLIP vision transformer into a BLIP one of equal width and depth.

    BLIP's has no normalisation before its first layer. CLIP's is folded into the embeddings: exact
    for the class token, with the mean deviation over 256 renders for the patches. BLIP's wider
    feed-forward layers keep their own values where CLIP has none.

    Args:
        model: Its `vision` is overwritten.
        clip: The donor.
        sprites: What the renders are made of.
    """
    pictures, _ = _captioned_renders(256, sprites, np.random.default_rng(0))
    donor, vision = clip.vision_model, model.vision
    embeddings, own = donor.embeddings, vision.embeddings
    tokens = embeddings(normalise(pictures))  # (n, 1 + patches, width)
    scale = 1 / tokens.std(dim=-1, correction=0).mean(dim=0)  # (1 + patches,)
    gain, shift = donor.pre_layrnorm.weight, donor.pre_layrnorm.bias
    positions = _centred(embeddings.position_embedding.weight) * scale[:, None] * gain + shift
    own.position_embedding.copy_(positions[None])
    own.class_embedding.copy_((_centred(embeddings.class_embedding) * scale[0] * gain)[None, None])
    filters = embeddings.patch_embedding.weight
    filters = (filters - filters.mean(dim=0)) * (scale[1:].mean() * gain)[:, None, None, None]
    own.patch_embedding.weight.copy_(filters)
    own.patch_embedding.bias.zero_()
    vision.post_layernorm.load_state_dict(donor.post_layernorm.state_dict())
    for theirs, ours in zip(donor.encoder.layers, vision.encoder.layers, strict=True):
        _copy_layer(theirs, ours)


def pretrain_text_half(
    model: ImageReward,
    sprites: SpriteSheet,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Teach the text half to caption, as BLIP's language-modelling loss does.

    The image half is frozen, so its features are computed once. Updates `model` in place.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    features, sentences = _captioned_features(model, sprites, rng)
    tokens, mask = model.tokenise(sentences)
    wanted = tokens.masked_fill(mask == 0, IGNORED)
    words = model.text.embeddings.word_embeddings.weight
    model.train().requires_grad_(True)
    model.vision.requires_grad_(False)

    def loss_of_step(step: int) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(tokens), size=batch_size))
        hidden = model.text(
            input_ids=tokens[rows],
            attention_mask=mask[rows],
            encoder_hidden_states=features[rows].float(),
            is_decoder=True,  # each word sees the words before it only
        ).last_hidden_state
        logits = (hidden[:, :-1] @ words.T).float()
        return functional.cross_entropy(
            logits.flatten(0, 1), wanted[rows, 1:].flatten(), ignore_index=IGNORED
        )

    name = "reward (captioning)"
    trained = train(model, loss_of_step, steps=steps, learning_rate=learning_rate, name=name)
    model.load_state_dict(trained.state_dict())


@torch.no_grad()
def _captioned_features(
    model: ImageReward, sprites: SpriteSheet, rng: np.random.Generator
) -> tuple[Tensor, list[str]]:
    """Image features (n, tokens, width) of right renders, in bfloat16, and their sentences."""
    features, sentences = [], []
    for _ in range(PRETRAINING_PICTURES // 128):
        pictures, drawn = _captioned_renders(128, sprites, rng)
        hidden = model.vision(pixel_values=normalise(pictures)).last_hidden_state
        features.append(hidden.bfloat16())
        sentences += drawn
    return torch.cat(features), sentences


def _captioned_renders(
    count: int, sprites: SpriteSheet, rng: np.random.Generator
) -> tuple[Tensor, list[str]]:
    """Right pictures (count, 3, 64, 64) in [0, 1], and their sentences."""
    captions = [sample_caption(rng) for _ in range(count)]
    pictures = to_tensor([render(scene_of(caption, rng), sprites, rng) for caption in captions])
    return pictures, [caption.sentence() for caption in captions]


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=-1, keepdim=True)


def _copy_layer(theirs: Any, ours: Any) -> None:
    attention = theirs.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    ours.self_attn.qkv.weight.copy_(torch.cat([p.weight for p in projections]))
    ours.self_attn.qkv.bias.copy_(torch.cat([p.bias for p in projections]))
    ours.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
    ours.layer_norm1.load_state_dict(theirs.layer_norm1.state_dict())
    ours.layer_norm2.load_state_dict(theirs.layer_norm2.state_dict())
    width = theirs.mlp.fc1.out_features
    ours.mlp.fc1.weight[:width] = theirs.mlp.fc1.weight
    ours.mlp.fc1.bias[:width] = theirs.mlp.fc1.bias
    ours.mlp.fc2.weight[:, :width] = theirs.mlp.fc2.weight
    ours.mlp.fc2.bias.copy_(theirs.mlp.fc2.bias)
