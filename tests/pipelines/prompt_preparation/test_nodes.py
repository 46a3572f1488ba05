from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpok_pipeline.configuration.selection import Selection, select
from dpok_pipeline.datasets.prompts.rows import PromptRow
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.prompt_preparation.nodes import (
    check_distinct,
    check_splits,
    drop_unreadable,
    name_prompts,
    prepare_prompts,
    prompt_id,
    warn_of_unused,
)
from tests.project import EXPERIMENTS

# Found by trying: the ids of these two are equal.
COLLISION = [
    f"a cat on the moon, in a very long prompt of many words, number {number}"
    for number in (54543, 70593)
]


@pytest.fixture(autouse=True)
def _the_papers_experiments() -> None:
    select(Selection(experiments=EXPERIMENTS))


class Words:
    """A tokenizer whose tokens are words; `%` is unknown to it, and taken for the end."""

    eos_token_id = 0

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[len(word) * (word != "%") for word in text.split()])


def row(
    text: str, place: str = "line 1", experiment: str = "color", split: str = "train"
) -> PromptRow:
    return PromptRow(text, experiment, split, "", "prompts.txt", place)


def test_the_table_has_the_columns_that_the_other_pipelines_read(tiny_model_folder: Path) -> None:
    rows = [row("a cat"), row("a dog", "line 2", split="unseen")]
    table = prepare_prompts(rows, _handle(tiny_model_folder))
    assert list(table) == ["prompt_id", "text", "experiment", "split", "category", "source"]
    assert table["prompt_id"].is_unique
    assert list(table["source"]) == ["prompts.txt, line 1", "prompts.txt, line 2"]


def test_no_prompts_at_all_is_an_error(tiny_model_folder: Path) -> None:
    with pytest.raises(InputError, match="no prompts"):
        prepare_prompts([], _handle(tiny_model_folder))


def test_a_duplicate_within_an_experiment_is_named_with_both_places() -> None:
    with pytest.raises(InputError, match="line 2: duplicate of line 1"):
        check_distinct([row("a cat"), row("a cat", "line 2")])


@pytest.mark.parametrize(("given", "missing"), [("train", "unseen"), ("unseen", "train")])
def test_an_experiment_with_one_split_is_named(given: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"prompts.txt: color has no {missing} prompt"):
        check_splits([row("a cat", split=given), row("a dog", experiment="pets")])


@pytest.mark.parametrize("other", ["A Cat", "a\u2060 cat"])
def test_a_prompt_is_not_unseen_if_training_has_it_in_other_letters(other: str) -> None:
    with pytest.raises(InputError, match="line 2: duplicate of line 1"):
        check_distinct([row("a cat"), row(other, "line 2", split="unseen")])


def test_two_experiments_may_share_a_prompt() -> None:
    check_distinct([row("a cat"), row("a cat", experiment="count")])


def test_an_experiment_that_no_pipeline_uses_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="dpok_pipeline"):
        warn_of_unused([row("a cat", experiment="pets"), row("a dog")])
    assert "no pipeline uses pets;" in caplog.text


def test_a_prompt_over_the_limit_is_named_with_both_numbers() -> None:
    with pytest.raises(InputError, match="line 1: 3 tokens, the base model takes 2"):
        drop_unreadable([row("one two three")], Words(), 2)


def test_a_prompt_with_an_unknown_character_is_named() -> None:
    """Its token is the end token in CLIP's tokenizer: the rest would be cut off without a word."""
    with pytest.raises(InputError, match="line 3: holds the tokenizer's end .* reword 'a % cat"):
        drop_unreadable([row("one"), row("a % cat", "line 3")], Words(), 9)


def test_a_prompt_over_the_limit_of_a_collection_is_left_out_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = row("one two three", "line 7")._replace(corpus=True)
    with caplog.at_level("WARNING", logger="dpok_pipeline"):
        kept = drop_unreadable([row("one"), long], Words(), 2)
    assert kept == [row("one")]
    assert "left out 1 that the base model cannot take whole in its 2 tokens" in caplog.text
    assert "prompts.txt, line 7" in caplog.text


def test_the_base_models_own_tokenizer_sets_the_limit(tiny_model_folder: Path) -> None:
    with pytest.raises(InputError, match="the base model takes 12"):
        prepare_prompts([row("a cat " * 12)], _handle(tiny_model_folder))


def test_prompt_ids_are_readable_safe_and_distinct() -> None:
    long = '../A   cat\nand "a" dog, ' + "x" * 10_000
    assert re.fullmatch(r"[a-z0-9-]{1,60}", prompt_id(long))
    assert prompt_id("A cat.") != prompt_id("A cat!")
    assert prompt_id("A cat.").startswith("a-cat-")


def test_the_ids_of_the_papers_prompts_are_as_ever() -> None:
    assert prompt_id("A green colored rabbit.") == "a-green-colored-rabbit-04a9545e"


def test_two_texts_of_one_id_are_refused() -> None:
    """Eight hexadecimal digits are not enough for each of 2^32 texts that begin alike."""
    one, other = (row(text, f"line {n}") for n, text in enumerate(COLLISION, start=1))
    assert prompt_id(one.text) == prompt_id(other.text)
    with pytest.raises(InputError, match=r"line 2: has the id .* of line 1 of prompts\.txt"):
        name_prompts([one, other])
    assert len(name_prompts([one, one])) == 2


def test_a_long_table_takes_no_more_than_its_length() -> None:
    """Were each prompt compared with each, this would take minutes, not a fraction of a second."""
    begin = time.perf_counter()
    rows = [row(f"cat number {number}", f"line {number}") for number in range(30_000)]
    check_distinct(rows)
    assert len(set(name_prompts(rows))) == 30_000
    assert time.perf_counter() - begin < 10


def _handle(folder: Path):
    return describe_base_model(folder)
