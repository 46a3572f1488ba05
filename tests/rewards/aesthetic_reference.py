"""The LAION aesthetic score written out in numpy, in float64: from image to number.

Nothing here comes from torch or transformers, so agreement with it says that the resampling, the
crop, the tower, the projection, the normalisation and the head are right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Array = np.ndarray
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711])


def cubic(x: Array, a: float = -0.5) -> Array:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def resampling_matrix(size: int, wanted: int) -> Array:
    """`(wanted, size)`: each output pixel as weights of input pixels; wider when it shrinks."""
    stretch = max(size / wanted, 1)
    centres = (np.arange(wanted) + 0.5) * size / wanted
    weights = cubic((np.arange(size) + 0.5 - centres[:, None]) / stretch)
    return weights / weights.sum(1, keepdims=True)


def preprocess(images: Array, size: int) -> Array:
    """`(b, 3, h, w)` in [0, 1] to normalised squares; shorter side to `size`, centre crop."""
    height, width = images.shape[-2:]
    scale = size / min(height, width)
    new_height, new_width = (size if side == min(height, width) else int(side * scale + 1e-9)
                             for side in (height, width))  # fmt: skip
    images = np.clip(images @ resampling_matrix(width, new_width).T, 0, 1)
    images = np.clip(resampling_matrix(height, new_height) @ images, 0, 1)
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    square = images[..., top : top + size, left : left + size]
    return (square - MEAN[:, None, None]) / DEVIATION[:, None, None]


def norm(state: Mapping[str, Array], name: str, x: Array) -> Array:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: Mapping[str, Array], name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attend(state: Mapping[str, Array], name: str, x: Array, heads: int) -> Array:
    def split(kind: str) -> Array:
        y = linear(state, f"{name}.{kind}_proj", x)
        return y.reshape(*y.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    query, key, value = split("q"), split("k"), split("v")
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = weights / weights.sum(-1, keepdims=True) @ value
    joined = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    return linear(state, f"{name}.out_proj", joined)


def embed(state: Mapping[str, Array], pixels: Array, patch: int, layers: int, heads: int) -> Array:
    """CLIP's projected image embedding of length 1, `(b, projection)`."""
    count, channels, size, _ = pixels.shape
    grid = size // patch
    patches = pixels.reshape(count, channels, grid, patch, grid, patch)
    patches = patches.transpose(0, 2, 4, 1, 3, 5).reshape(count, grid * grid, -1)
    kernel = state["vision_model.embeddings.patch_embedding.weight"]
    x = patches @ kernel.reshape(len(kernel), -1).T
    first = state["vision_model.embeddings.class_embedding"]
    x = np.concatenate([np.broadcast_to(first, (count, 1, len(first))), x], 1)
    x = x + state["vision_model.embeddings.position_embedding.weight"]
    x = norm(state, "vision_model.pre_layrnorm", x)
    for index in range(layers):
        layer = f"vision_model.encoder.layers.{index}"
        x = x + attend(state, f"{layer}.self_attn", norm(state, f"{layer}.layer_norm1", x), heads)
        hidden = linear(state, f"{layer}.mlp.fc1", norm(state, f"{layer}.layer_norm2", x))
        hidden = hidden / (1 + np.exp(-1.702 * hidden))  # CLIP's quick GELU
        x = x + linear(state, f"{layer}.mlp.fc2", hidden)
    pooled = norm(state, "vision_model.post_layernorm", x[:, 0])
    projected = pooled @ state["visual_projection.weight"].T
    return projected / np.linalg.norm(projected, axis=-1, keepdims=True)


def head_score(state: Mapping[str, Array], embedding: Array) -> Array:
    for position in (0, 2, 4, 6, 7):
        embedding = linear(state, f"layers.{position}", embedding)
    return embedding[:, 0]
