"""Prompts with line breaks, escape codes, tags or 10,000 characters go through as plain text."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dpok_pipeline.evaluation.names import one_line
from dpok_pipeline.pipelines.prompt_preparation.nodes import prompt_id
from dpok_pipeline.report.figures.plots import score_bars
from dpok_pipeline.report.figures.style import wrapped
from dpok_pipeline.report.pictures.contact_sheet import contact_sheet
from dpok_pipeline.report.tables import terminal_table
from tests.evaluation.synthetic import METHODS, compare_all, make_scores

PROMPTS = [
    "a cat\nand a dog\r\non the moon",
    "\x1b[31ma red cat\x1b[0m\x07",
    "<script>alert(1)</script> & <a href='javascript:alert(1)'>cat</a>",
    "../../etc/passwd; rm -rf ~ $(id) `id` %s {0}",
    "a cat " * 1666 + "sat.",
    "x" * 10_000,
    "猫 🐈 \u202egod",
]


@pytest.fixture(scope="module")
def comparison() -> pd.DataFrame:
    return compare_all(*make_scores(("color",), images=8), replicates=50)


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_tables_labels_and_sheets_take_any_prompt(prompt: str, comparison: pd.DataFrame) -> None:
    named = comparison.assign(prompt=prompt)
    lines = terminal_table(named, METHODS).splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) == len(terminal_table(comparison, METHODS).splitlines())
    assert not set("\x1b\u202e") & set("".join(lines))
    labels = score_bars(named, "image_reward", METHODS).data[0].x
    assert all("<" not in label.replace("<br>", "") for label in labels)
    images = {"base": [Image.new("RGB", (8, 8))]}
    sheet = contact_sheet(images, methods=METHODS, prompt=prompt, indices=[0], cell=40)
    assert (
        sheet.size
        == contact_sheet(images, methods=METHODS, prompt="a cat", indices=[0], cell=40).size
    )


@given(st.text(max_size=300), st.integers(2, 200))
def test_a_title_is_one_short_printable_line(prompt: str, length: int) -> None:
    title = one_line(prompt, length)
    assert len(title) <= length
    assert len(title.splitlines()) <= 1
    assert not any(ord(character) < 32 for character in title)
    assert wrapped(prompt).count("<br>") < 150


@given(st.text(max_size=300))
def test_a_prompts_name_is_safe_as_a_file_name(prompt: str) -> None:
    name = prompt_id(prompt)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert 8 < len(name) <= 49
    assert prompt_id(f"{prompt} ") != name
