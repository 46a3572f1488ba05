"""The grammar: sentences and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.emoji_world.building.corpus import sample_caption
from dpok_pipeline.emoji_world.captions import Caption, parse


@pytest.mark.parametrize(
    ("sentence", "caption"),
    [
        ("A green colored rabbit.", Caption("rabbit", colour="green")),
        ("A cat and a dog.", Caption("cat", other="dog")),
        ("Four wolves in the park.", Caption("wolf", count=4, place="park")),
        ("A dog on the moon.", Caption("dog", place="moon")),
        ("A green colored cat.", Caption("cat", colour="green")),
        ("A cat and a cup.", Caption("cat", other="cup")),
        ("Four birds in the park.", Caption("bird", count=4, place="park")),
        ("A lion on the moon.", Caption("lion", place="moon")),
        ("Four roses.", Caption("rose", count=4)),
        ("An apple and a car.", Caption("apple", other="car")),
        ("Two fish.", Caption("fish", count=2)),
    ],
)
def test_the_papers_prompts_are_sentences_of_the_grammar(sentence: str, caption: Caption) -> None:
    assert parse(sentence) == caption
    assert caption.sentence() == sentence


@given(seed=st.integers(0, 2**32 - 1))
def test_every_caption_of_the_corpus_is_read_back(seed: int) -> None:
    caption = sample_caption(np.random.default_rng(seed))
    assert parse(caption.sentence()) == caption


@pytest.mark.parametrize(
    "sentence", ["", "A unicorn.", "Four wolf.", "A wolves.", "A cat and a dog and a cup."]
)
def test_other_sentences_are_not_read(sentence: str) -> None:
    assert parse(sentence) is None


def test_case_space_and_period_do_not_matter() -> None:
    assert parse("  a CAT and a dog ") == Caption("cat", other="dog")
