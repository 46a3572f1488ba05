from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from dpok_pipeline.evaluation.names import MODEL_COLOURS
from dpok_pipeline.report.contact_sheet import (
    CAPTION_HEIGHT,
    GAP,
    LABEL_WIDTH,
    TITLE_HEIGHT,
    contact_sheet,
)

COLOURS = {"base": "#102030", "sft": "#40a060", "rl": "#e0c0a0"}
CELL = 40


def flat(colour):
    return [Image.new("RGB", (8, 8), colour)] * 3


@pytest.fixture
def images():
    return {model: flat(colour) for model, colour in COLOURS.items()}


def centre(row, column, caption):
    left = LABEL_WIDTH + column * (CELL + GAP)
    top = TITLE_HEIGHT + CAPTION_HEIGHT + row * (CELL + caption + GAP)
    return left + CELL // 2, top + CELL // 2


@pytest.mark.parametrize("scores", [None, {m: [0.1, -0.2, 0.3] for m in COLOURS}])
def test_every_image_is_in_its_place(images, scores):
    sheet = contact_sheet(images, prompt="A cat.", indices=[0, 1, 2], scores=scores, cell=CELL)
    caption = CAPTION_HEIGHT if scores else 0
    for row, colour in enumerate(COLOURS.values()):
        for column in range(3):
            found = sheet.getpixel(centre(row, column, caption))
            assert found == ImageColor.getrgb(colour)


def test_rows_follow_the_order_of_the_models_and_carry_their_colour(images):
    shuffled = {model: images[model] for model in ("rl", "base", "sft")}
    sheet = contact_sheet(shuffled, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    for row, model in enumerate(COLOURS):
        x, y = centre(row, 0, 0)
        assert sheet.getpixel((2, y)) == ImageColor.getrgb(MODEL_COLOURS[model])
        assert sheet.getpixel((x, y)) == ImageColor.getrgb(COLOURS[model])


def test_a_missing_model_has_no_row(images):
    whole = contact_sheet(images, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    del images["sft"]
    part = contact_sheet(images, prompt="A cat.", indices=[0, 1, 2], cell=CELL)
    assert whole.height - part.height == CELL + GAP
    assert whole.width == part.width


def test_small_images_are_enlarged_smoothly():
    checker = np.indices((8, 8)).sum(0) % 2 * 255
    image = Image.fromarray(checker.astype(np.uint8)).convert("RGB")
    sheet = contact_sheet({"rl": [image]}, prompt="", indices=[7], cell=64)
    left, top = LABEL_WIDTH, TITLE_HEIGHT + CAPTION_HEIGHT
    greys = set(np.array(sheet)[top : top + 64, left : left + 64, 0].ravel().tolist())
    assert len(greys) > 10  # nearest-neighbour would leave two


def test_the_prompt_and_the_scores_are_written(images):
    def ink(**changes):
        arguments = {"prompt": "", "indices": [0, 1, 2], "cell": CELL, **changes}
        return np.array(contact_sheet(images, **arguments)).astype(int)

    title = slice(0, TITLE_HEIGHT)
    assert not np.array_equal(ink()[title], ink(prompt="A cat.")[title])
    zeros, ones = ({model: [value] * 3 for model in COLOURS} for value in (0.0, 1.0))
    assert not np.array_equal(ink(scores=zeros), ink(scores=ones))
