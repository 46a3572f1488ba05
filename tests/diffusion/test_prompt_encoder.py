from __future__ import annotations

import pytest
import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.prompt_encoder import encode, pooled_features
from dpok_pipeline.errors import InputError


def test_each_prompt_is_encoded_once(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    forward = tiny_model.text_encoder.forward

    def counted(*arguments: object, **options: object) -> object:
        calls.append(1)
        return forward(*arguments, **options)

    monkeypatch.setattr(tiny_model.text_encoder, "forward", counted)
    hidden = encode(tiny_model, ["A cat.", "", "A cat."])
    assert hidden.shape == (3, 12, 16)
    assert torch.equal(hidden[0], hidden[2])
    assert not torch.equal(hidden[0], hidden[1])
    encode(tiny_model, [""])
    pooled_features(tiny_model, ["A cat."])
    assert len(calls) == 1


def test_pooled_feature_is_the_end_tokens_hidden_state(tiny_model: DiffusionModel) -> None:
    ids = tiny_model.tokenizer("A cat.").input_ids
    hidden = encode(tiny_model, ["A cat."])[0]
    assert torch.equal(pooled_features(tiny_model, ["A cat."])[0], hidden[len(ids) - 1])


def test_case_and_order_of_words(tiny_model: DiffusionModel) -> None:
    cat, same, other = encode(tiny_model, ["A cat and a dog.", "a CAT and a dog.", "A dog."])
    assert torch.equal(cat, same)
    assert not torch.equal(cat, other)


def test_over_long_prompt_is_named(tiny_model: DiffusionModel) -> None:
    with pytest.raises(InputError, match=r"'zebra zebra.* has \d+ tokens.* takes 12"):
        encode(tiny_model, ["A cat.", "zebra " * 20])
