"""Prompts to text features, each computed once per model.

A prompt is always encoded by itself. Its features therefore depend, to the last bit, on nothing but
its text: not on the prompts beside it, nor on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.components import unreadable
from dpok_pipeline.errors import InputError

_SHOWN = 60  # characters of a prompt in a message


@dataclass(frozen=True)
class PromptTable:
    """The features of all prompts of a run, addressed by index on the model's device.

    Attributes:
        hidden: Hidden states that the UNet attends to, `(n, tokens, dim)` float32.
        pooled: One vector per prompt, `(n, dim)` float32: the text encoder's final hidden state at
            the end token. The official value function reads CLIP ViT-L/14's *projected* feature
            instead; Stable Diffusion's text encoder has no projection, and this is what would be
            projected.
        empty: Hidden states of the empty text, `(1, tokens, dim)`: the unconditional prompt.
    """

    hidden: Tensor
    pooled: Tensor
    empty: Tensor

    @classmethod
    def encode(cls, model: DiffusionModel, prompts: Sequence[str]) -> PromptTable:
        """Encode n prompts.

        Raises:
            InputError: A prompt is too long, or cannot be tokenised.
        """
        hidden, pooled = zip(*(_features(model, prompt) for prompt in prompts), strict=True)
        return cls(torch.stack(hidden), torch.stack(pooled), encode(model, [""]))


def encode(model: DiffusionModel, prompts: Sequence[str]) -> Tensor:
    """Return the hidden states that the UNet attends to.

    Args:
        model: The base model.
        prompts: n texts; the empty text is the unconditional one.

    Returns:
        `(n, tokens, dim)` float32 on the model's device.

    Raises:
        InputError: A prompt is too long, or cannot be tokenised.
    """
    return torch.stack([_features(model, prompt)[0] for prompt in prompts])


@torch.no_grad()
def _features(model: DiffusionModel, prompt: str) -> tuple[Tensor, Tensor]:
    """Return a prompt's hidden states `(tokens, dim)` and pooled feature `(dim,)`."""
    if prompt not in model.prompt_cache:
        output = model.text_encoder(_tokenize(model, prompt))  # a batch of one
        features = output.last_hidden_state[0].float(), output.pooler_output[0].float()
        model.prompt_cache[prompt] = features
    return model.prompt_cache[prompt]


def _tokenize(model: DiffusionModel, prompt: str) -> Tensor:
    """Return the token numbers of a prompt, `(1, tokens)`, padded to the encoder's length."""
    limit = model.token_limit
    if problem := unreadable(prompt, model.tokenizer, limit):
        raise InputError(f"prompt: {problem} {prompt[:_SHOWN]!r}")
    batch = model.tokenizer([prompt], padding="max_length", max_length=limit, return_tensors="pt")
    numbers: Tensor = batch.input_ids.to(model.device)
    return numbers
