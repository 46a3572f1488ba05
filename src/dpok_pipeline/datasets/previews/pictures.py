"""Pictures as previews: contact sheets of a few images, and large pictures made smaller."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kedro_datasets._typing import ImagePreview
    from PIL.Image import Image

COLUMNS, SIDE = 6, 112  # of a contact sheet, and pixels of a tile
GAP, LINE = 6, 16  # pixels between tiles, and of a line of text
FONT_SIZE = 12
WIDEST = 1000  # pixels
PANEL = 1.5  # width over height of what kedro-viz shows a picture in
QUALITY = 85  # WebP's, of 100


class Tile(NamedTuple):
    """One image of a contact sheet.

    Attributes:
        content: The image file's bytes.
        caption: A word or a number below it; may be empty.
    """

    content: bytes
    caption: str = ""


class Group(NamedTuple):
    """Images under one heading.

    Attributes:
        heading: What they have in common.
        tiles: The images.
    """

    heading: str
    tiles: Sequence[Tile]


def contact_sheet(groups: Sequence[Group]) -> ImagePreview:
    """Draw a few images side by side, each with its caption.

    Args:
        groups: Images under headings, in the order in which they are shown.

    Raises:
        ValueError: There is no image.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not any(group.tiles for group in groups):
        raise ValueError("no images to preview")
    rows = sum(-(-len(group.tiles) // COLUMNS) for group in groups)
    columns = min(COLUMNS, max(len(group.tiles) for group in groups))
    row_height = SIDE + LINE + GAP
    width = max(columns * (SIDE + GAP) + GAP, 4 * SIDE)
    height = rows * row_height + len(groups) * (LINE + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    top = GAP
    for group in groups:
        draw.text((GAP, top), _fitting(group.heading, width), "black", font)
        top += LINE + GAP
        for number, tile in enumerate(group.tiles):
            left = GAP + number % COLUMNS * (SIDE + GAP)
            line = top + number // COLUMNS * row_height
            image = Image.open(BytesIO(tile.content)).convert("RGB")
            sheet.paste(image.resize((SIDE, SIDE)), (left, line))
            draw.text((left, line + SIDE + 2), tile.caption, "black", font)
        top += -(-len(group.tiles) // COLUMNS) * row_height
    return picture(sheet)


def picture(image: Image) -> ImagePreview:
    """Make an image's preview, no wider than what a page has room for."""
    from kedro_datasets._typing import ImagePreview
    from PIL import ImageOps

    image = image.convert("RGB")
    image.thumbnail((WIDEST, image.height))
    # kedro-viz stretches a picture to its panel, so that one of another shape would be distorted.
    width = max(image.width, round(image.height * PANEL))
    height = max(image.height, round(image.width / PANEL))
    image = ImageOps.pad(image, (width, height), color="white")
    buffer = BytesIO()
    # kedro-viz calls whatever it gets a PNG; browsers go by the content.
    image.save(buffer, "WEBP", quality=QUALITY)
    return ImagePreview(base64.b64encode(buffer.getvalue()).decode())


def _fitting(text: str, width: int) -> str:
    """Cut a text off where the sheet ends."""
    room = width * 2 // FONT_SIZE
    return text if len(text) <= room else f"{text[: room - 1]}…"
