"""Contact sheets: what each method makes of the same noise, row below row."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from dpok_pipeline.evaluation.names import MethodLabel, one_line

BACKGROUND = "#fcfbf8"
INK = "#1f1f1c"
QUIET = "#77766f"

#: Rows that one sheet holds; a note says how many methods are left out.
MOST_ROWS = 16

GAP = 10  # pixels between cells
LABEL_WIDTH = 84  # at least
LABEL_CHARACTERS = 15  # of a label's line
TITLE_LENGTH = 120  # characters
TITLE_HEIGHT = 46
CAPTION_HEIGHT = 22
LABEL_SIZE, SMALL_LABEL_SIZE = 19, 15  # pixels of the font, beside few and many rows

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(
    images: Mapping[str, Sequence[Image.Image]],
    *,
    methods: Sequence[MethodLabel],
    prompt: str,
    indices: Sequence[int],
    scores: Mapping[str, Sequence[float]] | None = None,
    cell: int | None = None,
) -> Image.Image:
    """Draw one row per method and one column per noise index.

    Args:
        images: Images by method, one per index each.
        methods: Methods in the order of the rows; one without images has no row.
        prompt: What the images were asked to show; the sheet's title.
        indices: Noise index of each column, written above it.
        scores: Numbers by method, to write below the images; None leaves them out.
        cell: Side of an image on the sheet, in pixels; smaller images are enlarged smoothly. None
            makes it smaller where there are many rows.

    Returns:
        An RGB image.
    """
    present = [method for method in methods if method.name in images]
    rows = present[:MOST_ROWS]
    cell = cell or _cell_size(len(rows))
    labels, font, label_width = _labels(rows)
    caption = CAPTION_HEIGHT if scores else 0
    note = CAPTION_HEIGHT if len(present) > len(rows) else 0
    width = label_width + len(indices) * (cell + GAP)
    height = TITLE_HEIGHT + CAPTION_HEIGHT + len(rows) * (cell + caption + GAP) + note
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _write_title(draw, prompt, width)
    for column, index in enumerate(indices):
        middle = label_width + column * (cell + GAP) + cell / 2
        above = TITLE_HEIGHT + CAPTION_HEIGHT / 2 - 2
        draw.text((middle, above), f"noise {index}", QUIET, _font(13), anchor="mm")
    for row, method in enumerate(rows):
        top = TITLE_HEIGHT + CAPTION_HEIGHT + row * (cell + caption + GAP)
        draw.rectangle((0, top, 4, top + cell - 1), fill=method.colour)
        draw.text((GAP + 6, top + cell / 2), labels[row], INK, font, anchor="lm")
        for column, image in enumerate(images[method.name]):
            left = label_width + column * (cell + GAP)
            sheet.paste(_fit(image, cell), (left, top))
            if scores:
                text = f"{scores[method.name][column]:.2f}"
                below = (left + cell / 2, top + cell + caption / 2)
                draw.text(below, text, QUIET, _font(13), anchor="mm")
    if note:
        text = f"The first {len(rows)} of {len(present)} methods."
        draw.text((GAP + 6, height - note / 2 - 2), text, QUIET, _font(13), anchor="lm")
    return sheet


def _cell_size(rows: int) -> int:
    """Choose how large images are, so that many rows can be seen together."""
    return 144 if rows <= 5 else 108


def _labels(rows: Sequence[MethodLabel]) -> tuple[list[str], Font, int]:
    """Break the labels into lines, and find the font and the width that they need."""
    labels = [
        "\n".join(textwrap.wrap(spell_greek(row.label), LABEL_CHARACTERS)[:3]) for row in rows
    ]
    # A long label is smaller, too: the images are what the sheet is for.
    few_and_short = len(rows) <= 5 and not any("\n" in label for label in labels)
    font = _font(LABEL_SIZE if few_and_short else SMALL_LABEL_SIZE)
    widest = max(
        (font.getlength(line) for label in labels for line in label.split("\n")), default=0
    )
    return labels, font, max(LABEL_WIDTH, int(widest) + 6 + 2 * GAP)


def spell_greek(text: str) -> str:
    """Write small Greek letters as words, because Pillow's font has none: β 0.1 is beta 0.1."""
    letters = {letter: unicodedata.name(letter, "") for letter in text}
    return "".join(
        letters[letter].split()[-1].lower()
        if letters[letter].startswith("GREEK SMALL LETTER")
        else letter
        for letter in text
    )


def _write_title(draw: ImageDraw.ImageDraw, prompt: str, width: int) -> None:
    """Write the prompt above the columns, cut where it would leave the sheet."""
    font, length = _font(22), TITLE_LENGTH
    while length > 8 and font.getlength(one_line(prompt, length)) > width - 2 * GAP:
        length -= 4
    draw.text((GAP, TITLE_HEIGHT / 2), one_line(prompt, length), INK, font, anchor="lm")


def _fit(image: Image.Image, cell: int) -> Image.Image:
    """Resize the image to a square of side `cell`."""
    return image.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)


def _font(size: int) -> Font:
    """Return Pillow's own font: the same sheet on every machine."""
    return ImageFont.load_default(size)
