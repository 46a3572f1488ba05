"""The published ImageReward written out by hand, on tensors with the published names.

Nothing here comes from transformers, so agreement with it says that the renaming, the LayerNorm
epsilons, the cross-attention and the two-way mask are right.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def random_state(config, scale: float = 1.5) -> State:
    """Random tensors with every name and shape of the published checkpoint, at any size."""
    generator = torch.Generator().manual_seed(3)
    width, text = config.vision_width, config.text_width
    patches = (config.image_size // config.patch_size) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "blip.visual_encoder.cls_token": (1, 1, width),
        "blip.visual_encoder.pos_embed": (1, patches + 1, width),
        "blip.visual_encoder.patch_embed.proj.weight": (width, 3, *[config.patch_size] * 2),
        "blip.visual_encoder.patch_embed.proj.bias": (width,),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (size,), (size,)

    for index in range(config.vision_layers):
        block = f"blip.visual_encoder.blocks.{index}"
        norm(f"{block}.norm1", width)
        linear(f"{block}.attn.qkv", 3 * width, width)
        linear(f"{block}.attn.proj", width, width)
        norm(f"{block}.norm2", width)
        linear(f"{block}.mlp.fc1", 4 * width, width)
        linear(f"{block}.mlp.fc2", width, 4 * width)
    norm("blip.visual_encoder.norm", width)
    embeddings = "blip.text_encoder.embeddings"
    shapes[f"{embeddings}.word_embeddings.weight"] = (config.vocab_size, text)
    shapes[f"{embeddings}.position_embeddings.weight"] = (config.text_positions, text)
    norm(f"{embeddings}.LayerNorm", text)
    for index in range(config.text_layers):
        layer = f"blip.text_encoder.encoder.layer.{index}"
        for kind, source in (("attention", text), ("crossattention", width)):
            linear(f"{layer}.{kind}.self.query", text, text)
            linear(f"{layer}.{kind}.self.key", text, source)
            linear(f"{layer}.{kind}.self.value", text, source)
            linear(f"{layer}.{kind}.output.dense", text, text)
            norm(f"{layer}.{kind}.output.LayerNorm", text)
        linear(f"{layer}.intermediate.dense", 4 * text, text)
        linear(f"{layer}.output.dense", text, 4 * text)
        norm(f"{layer}.output.LayerNorm", text)
    sizes = (text, *config.head_sizes, 1)
    for position, rows, columns in zip((0, 2, 4, 6, 7), sizes[1:], sizes, strict=False):
        linear(f"mlp.layers.{position}", rows, columns)
    state = {
        name: torch.randn(shape, generator=generator) * scale / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(config.text_positions)[None]
    return state


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(
        x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps
    )


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, keep: Tensor | None = None) -> Tensor:
    """Plain attention of `(b, n, d)` tensors; `keep` `(b, keys)` is 1 where a key may be seen."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if keep is not None:
        scores = scores.masked_fill(keep[:, None, None] == 0, float("-inf"))
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def see(state: State, config, pixels: Tensor) -> Tensor:
    root = "blip.visual_encoder"
    weight = state[f"{root}.patch_embed.proj.weight"]
    patches = functional.conv2d(
        pixels, weight, state[f"{root}.patch_embed.proj.bias"], stride=config.patch_size
    )
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([state[f"{root}.cls_token"].expand(len(x), 1, -1), x], 1)
    x = x + state[f"{root}.pos_embed"]
    for index in range(config.vision_layers):
        block = f"{root}.blocks.{index}"
        qkv = linear(state, f"{block}.attn.qkv", norm(state, f"{block}.norm1", x, 1e-6))
        mixed = attend(*qkv.chunk(3, -1), config.vision_heads)
        x = x + linear(state, f"{block}.attn.proj", mixed)
        hidden = linear(state, f"{block}.mlp.fc1", norm(state, f"{block}.norm2", x, 1e-6))
        x = x + linear(state, f"{block}.mlp.fc2", functional.gelu(hidden))
    return norm(state, f"{root}.norm", x, 1e-6)


def read(state: State, config, ids: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    root = "blip.text_encoder"
    words = state[f"{root}.embeddings.word_embeddings.weight"][ids]
    x = words + state[f"{root}.embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = norm(state, f"{root}.embeddings.LayerNorm", x, 1e-12)
    for index in range(config.text_layers):
        layer = f"{root}.encoder.layer.{index}"
        for kind, source, keep in (("attention", None, mask), ("crossattention", image, None)):
            keys = x if source is None else source
            mixed = attend(
                linear(state, f"{layer}.{kind}.self.query", x),
                linear(state, f"{layer}.{kind}.self.key", keys),
                linear(state, f"{layer}.{kind}.self.value", keys),
                config.text_heads,
                keep,
            )
            mixed = linear(state, f"{layer}.{kind}.output.dense", mixed)
            x = norm(state, f"{layer}.{kind}.output.LayerNorm", x + mixed, 1e-12)
        hidden = functional.gelu(linear(state, f"{layer}.intermediate.dense", x))
        hidden = linear(state, f"{layer}.output.dense", hidden)
        x = norm(state, f"{layer}.output.LayerNorm", x + hidden, 1e-12)
    return x


def reference_score(state: State, config, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The published forward pass: `(b,)` normalised scores."""
    x = read(state, config, ids, mask, see(state, config, pixels))[:, 0]
    for position in (0, 2, 4, 6, 7):
        x = linear(state, f"mlp.layers.{position}", x)
    return (x.squeeze(-1) - config.score_mean) / config.score_std
