"""What a prompt is, and which two are one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dpok_pipeline.datasets.prompts.rows import (
    PromptRow,
    clean_text,
    comparison_key,
    keep_prompts,
    make_row,
)
from dpok_pipeline.errors import InputError

FAMILY = "👨\u200d👩\u200d👧"
PERSIAN = "نامه\u200cای"


def row(text: object, place: str = "line 1", corpus: bool = False) -> PromptRow:
    return make_row("prompts.txt", place, text, corpus=corpus)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a cat", "a cat"),
        (" a \t cat\r\nand\u2028a\u3000dog ", "a cat and a dog"),
        ("\ufeffa c\ufeffat", "a cat"),
        ("a cafe\u0301", "a café"),
        ("\u212b", "Å"),
        (FAMILY, FAMILY),
        (PERSIAN, PERSIAN),
        ("猫", "猫"),
    ],
)
def test_a_text_is_kept_in_composed_form_with_single_blanks(text: str, kept: str) -> None:
    (made,) = keep_prompts([row(text)])
    assert made.text == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the prompt is empty"),
        (None, "the prompt is empty"),
        (" \ufeff\n", "the prompt is empty"),
        ("a bird\ufffds nest", "holds U+FFFD, a character lost when the text was converted"),
        ("a\0cat", "holds U+0000, a control character"),
        ("a cat\x9b", "holds U+009B, a control character"),
        ("a \udcff cat", "holds U+DCFF, half of a surrogate pair"),
        ("\u200b", "nothing in the prompt is visible, it begins with U+200B"),
        ("\u202e \u2060\ufe0f", "nothing in the prompt is visible, it begins with U+202E"),
        ("\u00ad\u0301", "nothing in the prompt is visible, it begins with U+00AD"),
        ("\u2800", "nothing in the prompt is visible, it begins with U+2800"),
    ],
)
def test_what_is_no_prompt_is_refused_in_a_list_and_left_out_of_a_collection(
    text: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError) as caught:
        keep_prompts([row("a cat"), row(text, "line 2")])
    assert str(caught.value).startswith(f"prompts.txt: line 2: {message}")
    good, bad = row("a cat", corpus=True), row(text, "line 2", corpus=True)
    assert keep_prompts([good, bad]) == [good]
    assert "left out 1 prompts that are empty or damaged, at first line 2: " in caplog.text
    assert message in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A Cat", "a cat"),
        ("a caf\u00e9", "a CAFE\u0301"),
        ("a c\u200bat", "a cat"),
        ("a cat\u2060", "a cat"),
        ("STRASSE", "straße"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("e\u200d\u0301", "é"),
    ],
)
def test_prompts_that_look_or_are_read_alike_are_one(
    one: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(one, corpus=True), row(other, "line 2", corpus=True)]
    with caplog.at_level("INFO", logger="dpok_pipeline"):
        assert keep_prompts(rows) == rows[:1]
    assert "left out 1 prompts that repeat another" in caplog.text


def test_a_value_that_is_no_text_is_named_however_large_it_is() -> None:
    bomb: list[object] = ["x"]
    for _ in range(60):
        bomb = [bomb] * 9
    for shown, value in {"a list": bomb, "a int": 16**9999, "True": True, "7.5": 7.5}.items():
        with pytest.raises(InputError, match=f"line 1: {shown} is not text; put it in quotes"):
            row(value)


def test_a_place_can_always_be_printed_and_kept() -> None:
    made = make_row("\udcff.csv", "a\x1b[2J\udcff.txt, line 1", "a cat")
    assert (made.source, made.place) == ("\\udcff.csv", "a\\x1b[2J\\udcff.txt, line 1")


@given(st.text(st.characters(exclude_categories=()), max_size=30))
@example("\u0345\u0301")
def test_what_is_kept_is_composed_visible_and_clean_once_and_for_all(text: str) -> None:
    kept = keep_prompts([row(text, corpus=True)])
    for made in kept:
        assert unicodedata.is_normalized("NFC", made.text)
        assert clean_text(made.text) == made.text
        assert comparison_key(made.text) == comparison_key(row(made.text).text)
        assert any(unicodedata.category(letter) not in ("Cf", "Zs", "Mn") for letter in made.text)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in made.text)
        made.text.encode()
    if not kept:
        with pytest.raises(InputError):
            keep_prompts([row(text)])
