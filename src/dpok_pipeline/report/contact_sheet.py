"""Contact sheets: what base model, SFT and DPOK make of the same noise, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from dpok_pipeline.evaluation.names import MODEL_COLOURS, MODEL_LABELS, MODELS, one_line

BACKGROUND = "#fcfbf8"
INK = "#1f1f1c"
QUIET = "#77766f"

GAP = 10  # pixels between cells
LABEL_WIDTH = 84
TITLE_LENGTH = 120  # characters
TITLE_HEIGHT = 46
CAPTION_HEIGHT = 22


def contact_sheet(
    images: Mapping[str, Sequence[Image.Image]],
    *,
    prompt: str,
    indices: Sequence[int],
    scores: Mapping[str, Sequence[float]] | None = None,
    cell: int = 144,
) -> Image.Image:
    """Draw one row per model and one column per noise index.

    Args:
        images: by model (`base`, `sft`, `rl`), one image per index each.
        prompt: what the images were asked to show; the sheet's title.
        indices: the noise index of each column, written above it.
        scores: by model, a number to write below each image; None leaves it out.
        cell: side of an image on the sheet, in pixels; smaller images are enlarged smoothly.

    Returns:
        An RGB image.
    """
    models = [model for model in MODELS if model in images]
    caption = CAPTION_HEIGHT if scores else 0
    width = LABEL_WIDTH + len(indices) * (cell + GAP)
    height = TITLE_HEIGHT + CAPTION_HEIGHT + len(models) * (cell + caption + GAP)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, TITLE_HEIGHT / 2), one_line(prompt, TITLE_LENGTH), INK, _font(22), anchor="lm")
    for column, index in enumerate(indices):
        middle = _left(column, cell) + cell / 2
        above = TITLE_HEIGHT + CAPTION_HEIGHT / 2 - 2
        draw.text((middle, above), f"noise {index}", QUIET, _font(13), anchor="mm")
    for row, model in enumerate(models):
        top = TITLE_HEIGHT + CAPTION_HEIGHT + row * (cell + caption + GAP)
        _label(draw, model, top, cell)
        for column, image in enumerate(images[model]):
            left = _left(column, cell)
            sheet.paste(_fit(image, cell), (left, top))
            if scores:
                text = f"{scores[model][column]:.2f}"
                below = (left + cell / 2, top + cell + caption / 2)
                draw.text(below, text, QUIET, _font(13), anchor="mm")
    return sheet


def _left(column: int, cell: int) -> int:
    return LABEL_WIDTH + column * (cell + GAP)


def _label(draw: ImageDraw.ImageDraw, model: str, top: int, cell: int) -> None:
    """The model's name beside its row, with a bar in its colour."""
    draw.rectangle((0, top, 4, top + cell - 1), fill=MODEL_COLOURS[model])
    draw.text((GAP + 6, top + cell / 2), MODEL_LABELS[model], INK, _font(19), anchor="lm")


def _fit(image: Image.Image, cell: int) -> Image.Image:
    """The image as a square of side `cell`."""
    return image.convert("RGB").resize((cell, cell), Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same sheet on every machine."""
    return ImageFont.load_default(size)
