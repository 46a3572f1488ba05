"""Colours on dark paper."""

from __future__ import annotations

import re

import pytest

from dpok_pipeline.evaluation.names import BASE, PALETTE
from dpok_pipeline.report.figures.dark import CONTRAST, DARK, PAPER, contrast, dark_colours, on_dark
from dpok_pipeline.report.figures.style import INK, QUIET
from dpok_pipeline.report.rendering import TEMPLATES


def test_the_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("colour", [*PALETTE, BASE.colour, "#000000", "#191917"])
def test_methods_can_be_read_on_dark_paper(colour: str) -> None:
    assert contrast(on_dark(colour), PAPER) >= CONTRAST


def test_a_colour_that_is_light_enough_stays() -> None:
    assert on_dark(BASE.colour) == BASE.colour


def test_texts_can_be_read_and_the_page_has_the_same_colours() -> None:
    css = (TEMPLATES / "page.css").read_text()
    names = {"ink": INK, "quiet": QUIET}
    for name, light in names.items():
        assert contrast(DARK[light], PAPER) >= CONTRAST
        assert f"--{name}: light-dark({light}, {DARK[light]})" in css
    assert re.search(rf"--paper: light-dark\(#\w+, {PAPER}\)", css)


def test_colours_are_found_however_they_are_written() -> None:
    assert dark_colours(["#D0842A"]) == {**DARK, "#d0842a": on_dark("#d0842a")}
