from __future__ import annotations

import pytest
import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.prompt_encoder import PromptTable, encode
from dpok_pipeline.errors import InputError


def test_each_prompt_is_encoded_once(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    forward = tiny_model.text_encoder.forward

    def counted(tokens: torch.Tensor, **options: object) -> object:
        batches.append(len(tokens))
        return forward(tokens, **options)

    monkeypatch.setattr(tiny_model.text_encoder, "forward", counted)
    hidden = encode(tiny_model, ["A cat.", "", "A cat."])
    assert hidden.shape == (3, 12, 16)
    assert torch.equal(hidden[0], hidden[2])
    assert not torch.equal(hidden[0], hidden[1])
    encode(tiny_model, [""])
    PromptTable.encode(tiny_model, ["A cat."])
    assert batches == [1, 1]


def test_a_table_holds_every_prompt_by_its_index(tiny_model: DiffusionModel) -> None:
    prompts = ["A cat.", "A dog on the moon.", "A cat."]
    table = PromptTable.encode(tiny_model, prompts)
    assert table.hidden.shape == (3, 12, 16)
    assert table.pooled.shape == (3, 16)
    assert torch.equal(table.empty, encode(tiny_model, [""]))
    assert torch.equal(table.hidden, encode(tiny_model, prompts))
    assert not table.hidden.requires_grad


def test_features_depend_on_nothing_but_the_text(tiny_model: DiffusionModel) -> None:
    alone = PromptTable.encode(tiny_model, ["A cat and a dog."])
    tiny_model.prompt_cache.clear()
    among = PromptTable.encode(tiny_model, ["A dog.", "A cat and a dog.", "A rabbit."])
    assert torch.equal(among.hidden[1], alone.hidden[0])
    assert torch.equal(among.pooled[1], alone.pooled[0])


def test_pooled_feature_is_the_end_tokens_hidden_state(tiny_model: DiffusionModel) -> None:
    ids = tiny_model.tokenizer("A cat.").input_ids
    table = PromptTable.encode(tiny_model, ["A cat."])
    assert torch.equal(table.pooled[0], table.hidden[0, len(ids) - 1])


def test_case_and_order_of_words(tiny_model: DiffusionModel) -> None:
    cat, same, other = encode(tiny_model, ["A cat and a dog.", "a CAT and a dog.", "A dog."])
    assert torch.equal(cat, same)
    assert not torch.equal(cat, other)


def test_over_long_prompt_is_named(tiny_model: DiffusionModel) -> None:
    with pytest.raises(InputError, match=r"prompt: \d+ tokens.* takes 12 .* shorten 'zebra zebra"):
        encode(tiny_model, ["A cat.", "zebra " * 20])
