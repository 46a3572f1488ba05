from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.report.pictures.contact_sheet import (
    BACKGROUND,
    CAPTION_HEIGHT,
    GAP,
    LABEL_WIDTH,
    MOST_ROWS,
    TITLE_HEIGHT,
    contact_sheet,
    spell_greek,
)
from tests.evaluation.synthetic import MANY, METHODS

COLOURS = {"base": "#102030", "sft": "#40a060", "dpok": "#e0c0a0"}
CELL = 40


def flat(colour):
    return [Image.new("RGB", (8, 8), colour)] * 3


@pytest.fixture
def images():
    return {method: flat(colour) for method, colour in COLOURS.items()}


def centre(row, column, caption):
    left = LABEL_WIDTH + column * (CELL + GAP)
    top = TITLE_HEIGHT + CAPTION_HEIGHT + row * (CELL + caption + GAP)
    return left + CELL // 2, top + CELL // 2


@pytest.mark.parametrize("scores", [None, {m: [0.1, -0.2, 0.3] for m in COLOURS}])
def test_every_image_is_in_its_place(images, scores):
    sheet = contact_sheet(
        images, methods=METHODS, prompt="A cat.", indices=[0, 1, 2], scores=scores, cell=CELL
    )
    caption = CAPTION_HEIGHT if scores else 0
    for row, colour in enumerate(COLOURS.values()):
        for column in range(3):
            found = sheet.getpixel(centre(row, column, caption))
            assert found == ImageColor.getrgb(colour)


def test_rows_follow_the_order_of_the_methods_and_carry_their_colour(images):
    shuffled = {method: images[method] for method in ("dpok", "base", "sft")}
    sheet = contact_sheet(shuffled, methods=METHODS, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    for row, method in enumerate(METHODS):
        x, y = centre(row, 0, 0)
        assert sheet.getpixel((2, y)) == ImageColor.getrgb(method.colour)
        assert sheet.getpixel((x, y)) == ImageColor.getrgb(COLOURS[method.name])


def test_a_missing_method_has_no_row(images):
    whole = contact_sheet(images, methods=METHODS, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    del images["sft"]
    part = contact_sheet(images, methods=METHODS, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    assert whole.height - part.height == CELL + GAP
    assert whole.width == part.width


def test_many_methods_have_smaller_cells_and_wider_labels():
    pictures = {method.name: flat("#102030") for method in MANY}
    sheet = contact_sheet(pictures, methods=MANY, prompt="A cat." * 40, indices=[0, 1, 2])
    few = contact_sheet(
        {method.name: flat("#102030") for method in METHODS},
        methods=METHODS,
        prompt="A cat.",
        indices=[0, 1, 2],
    )
    assert sheet.height < 15 / 3 * few.height
    right = slice(sheet.width - 2, sheet.width)
    background = np.array(Image.new("RGB", (1, 1), BACKGROUND))[0, 0]
    assert (np.array(sheet)[:TITLE_HEIGHT, right] == background).all()  # a long title is cut


def test_methods_beyond_the_sheet_are_counted(images):
    crowd = [MethodLabel(f"m{place}", f"Method {place}", "#102030") for place in range(20)]
    pictures = {method.name: flat("#102030") for method in crowd}
    whole = contact_sheet(pictures, methods=crowd, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    first = contact_sheet(
        pictures, methods=crowd[:MOST_ROWS], prompt="A cat.", indices=[0, 1, 2], cell=CELL
    )
    assert whole.height == first.height + CAPTION_HEIGHT
    top = np.array(whole)[: first.height - GAP]
    assert np.array_equal(top, np.array(first)[: first.height - GAP])


def test_greek_letters_of_labels_are_spelt():
    assert spell_greek("DPOK, β 0.1 (Ω)") == "DPOK, beta 0.1 (Ω)"


def test_small_images_are_enlarged_smoothly():
    checker = np.indices((8, 8)).sum(0) % 2 * 255
    image = Image.fromarray(checker.astype(np.uint8)).convert("RGB")
    sheet = contact_sheet({"dpok": [image]}, methods=METHODS, prompt="", indices=[7], cell=64)
    left, top = LABEL_WIDTH, TITLE_HEIGHT + CAPTION_HEIGHT
    greys = set(np.array(sheet)[top : top + 64, left : left + 64, 0].ravel().tolist())
    assert len(greys) > 10  # nearest-neighbour would leave two


def test_the_prompt_and_the_scores_are_written(images):
    def ink(**changes):
        arguments = {
            "methods": METHODS,
            "prompt": "",
            "indices": [0, 1, 2],
            "cell": CELL,
            **changes,
        }
        return np.array(contact_sheet(images, **arguments)).astype(int)

    title = slice(0, TITLE_HEIGHT)
    assert not np.array_equal(ink()[title], ink(prompt="A cat.")[title])
    zeros, ones = ({method: [value] * 3 for method in COLOURS} for value in (0.0, 1.0))
    assert not np.array_equal(ink(scores=zeros), ink(scores=ones))
