"""Filmstrips: how the same noises turn out while a method trains, picture below picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup
from PIL import Image

from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.report.pictures.webp import data_uri

#: A method's filmstrip by its name, as training returns it.
Filmstrips = Mapping[str, pd.DataFrame]

#: Side of a picture on the page, and the gap between two, in pixels.
SIDE, GAP = 112, 4
#: WebP's quality on the page, where many strips stand.
QUALITY = 78


class Strip(NamedTuple):
    """A method's filmstrip on the page.

    Attributes:
        method: Whose it is.
        columns: What stands above each column: the images seen by then.
        picture: The pictures as one data URI.
        description: What is seen, for those who cannot see it.
    """

    method: MethodLabel
    columns: list[str]
    picture: Markup
    description: str


class Scene(NamedTuple):
    """The filmstrips of one experiment.

    Attributes:
        prompt: What all of their pictures were asked for.
        strips: One for each method.
    """

    prompt: str
    strips: list[Strip]


def scenes(strips: Mapping[str, Filmstrips], methods: Sequence[MethodLabel]) -> list[Scene]:
    """Lay out what the page shows.

    Args:
        strips: Filmstrips by experiment and method.
        methods: Methods in the order in which they are shown.
    """
    found = []
    for by_method in strips.values():
        drawn = [
            _strip(by_method[method.name], method)
            for method in methods
            if method.name in by_method and len(by_method[method.name])
        ]
        if drawn:
            first = next(table for table in by_method.values() if len(table))
            found.append(Scene(str(first["prompt"].iloc[0]), drawn))
    return found


def _strip(table: pd.DataFrame, method: MethodLabel) -> Strip:
    picture = draw_strip(table, SIDE)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=4)
    prompt, noises = str(table["prompt"].iloc[0]), table["noise"].nunique()
    seen = [int(images) for images in table.drop_duplicates("step")["images_seen"]]
    return Strip(
        method=method,
        columns=_heads(seen),
        picture=data_uri(buffer.getvalue()),
        description=(
            f"{noises} rows of pictures of “{prompt}”, each row begun from one noise: what "
            f"{method.in_a_sentence} makes of it after {_listed(seen)} images of training"
        ),
    )


def _heads(seen: Sequence[int]) -> list[str]:
    """Write what stands above the columns; the unit once, above the last."""
    heads = [f"{images:,}" if images else "base model" for images in seen]
    if seen[-1]:
        heads[-1] = f"{heads[-1]} images"
    return heads


def _listed(numbers: Sequence[int]) -> str:
    *first, last = (f"{number:,}" for number in numbers)
    return f"{', '.join(first)} and {last}" if first else last


def draw_strip(table: pd.DataFrame, side: int | None = None) -> Image.Image:
    """Put the pictures side by side: a row for each noise, a column for each step.

    Args:
        table: A method's filmstrip.
        side: Side of a picture in pixels; None leaves them as they are.

    Returns:
        An RGBA image, whose gaps are transparent.
    """
    steps, noises = sorted(table["step"].unique()), sorted(table["noise"].unique())
    places = zip(table["step"], table["noise"], table["image"], strict=True)
    pictures = {(step, noise): _open(image["bytes"], side) for step, noise, image in places}
    size = side or next(iter(pictures.values())).width
    pitch = size + GAP
    strip = Image.new("RGBA", (len(steps) * pitch - GAP, len(noises) * pitch - GAP), (0, 0, 0, 0))
    for column, step in enumerate(steps):
        for row, noise in enumerate(noises):
            if (step, noise) in pictures:
                strip.paste(pictures[step, noise], (column * pitch, row * pitch))
    return strip


def on_white(strip: Image.Image) -> Image.Image:
    """Return a strip whose gaps are white, for what shows no transparency."""
    white = Image.new("RGBA", strip.size, "white")
    return Image.alpha_composite(white, strip).convert("RGB")


def small(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the page shows of a filmstrip, in the page's size, for reports to keep."""

    def shrunk(image: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
        if _open(image["bytes"], None).width <= SIDE:
            return image
        buffer = BytesIO()
        _open(image["bytes"], SIDE).save(buffer, "WEBP", quality=95)
        return {"bytes": buffer.getvalue(), "path": None}

    return table.assign(image=table["image"].map(shrunk))


def _open(content: bytes, side: int | None) -> Image.Image:
    picture = Image.open(BytesIO(content)).convert("RGB")
    return picture if side is None else picture.resize((side, side), Image.Resampling.LANCZOS)
