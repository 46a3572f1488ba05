"""Prompts to text features, each computed once per model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.errors import InputError

_BATCH = 64


def encode(model: DiffusionModel, prompts: Sequence[str]) -> Tensor:
    """Hidden states that the UNet attends to.

    Args:
        model: the base model.
        prompts: n texts; the empty text is the unconditional one.

    Returns:
        `(n, tokens, dim)` float32 on the model's device.

    Raises:
        InputError: a prompt has more tokens than the text encoder takes.
    """
    _fill_cache(model, prompts)
    return torch.stack([model.prompt_cache[prompt][0] for prompt in prompts])


def pooled_features(model: DiffusionModel, prompts: Sequence[str]) -> Tensor:
    """One vector per prompt: the text encoder's final hidden state at the end token.

    The official value function reads CLIP ViT-L/14's *projected* feature instead; Stable
    Diffusion's text encoder has no projection, and this is what would be projected.

    Returns:
        `(n, dim)` float32 on the model's device.
    """
    _fill_cache(model, prompts)
    return torch.stack([model.prompt_cache[prompt][1] for prompt in prompts])


@torch.no_grad()
def _fill_cache(model: DiffusionModel, prompts: Sequence[str]) -> None:
    missing = [p for p in dict.fromkeys(prompts) if p not in model.prompt_cache]
    for start in range(0, len(missing), _BATCH):
        texts = missing[start : start + _BATCH]
        output = model.text_encoder(_tokenize(model, texts))
        # The outputs are copied, so that one prompt does not keep its whole batch alive.
        for text, hidden, pooled in zip(
            texts, output.last_hidden_state, output.pooler_output, strict=True
        ):
            model.prompt_cache[text] = (hidden.float().clone(), pooled.float().clone())


def _tokenize(model: DiffusionModel, texts: list[str]) -> Tensor:
    limit = model.token_limit
    for text, ids in zip(texts, model.tokenizer(texts).input_ids, strict=True):
        if len(ids) > limit:
            raise InputError(
                f"prompt {text[:60]!r} has {len(ids)} tokens, the text encoder takes {limit}; "
                "shorten it"
            )
    batch = model.tokenizer(texts, padding="max_length", max_length=limit, return_tensors="pt")
    padded: Tensor = batch.input_ids.to(model.device)
    return padded
