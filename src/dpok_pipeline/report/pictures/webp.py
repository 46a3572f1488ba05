"""Images as WebP, as large as the budget of a page allows."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from markupsafe import Markup
from PIL import Image

BASE64 = 4 / 3  # bytes of text per byte
SMALL = 128  # pixels; images up to this side can be kept without loss
QUALITIES = (86, 74, 60, 45, 30)  # of WebP, until the images are small enough
SAMPLE = 48  # images by which that is found out


def compression(
    images: Sequence[bytes], budget: int, sides: Sequence[int], *, lossless: bool = False
) -> dict[str, Any]:
    """Choose how images become WebP: as well as the budget allows, and all in one way.

    Were each image given what fits the budget, those with more in them would be compressed more,
    and some method's perhaps more than another's.

    Args:
        images: Images that will be on a page, as PNG or WebP.
        budget: Bytes that an image may have on the average.
        sides: Largest sides in pixels, from the one preferred to the smallest that will do.
        lossless: Whether small images are kept without loss where the budget allows it.

    Returns:
        The largest side in pixels, and options of Pillow's WebP writer.
    """
    sample = images[:: max(len(images) // SAMPLE, 1)]
    attempts: list[dict[str, Any]] = [
        {"side": side, "quality": quality} for side in sides for quality in QUALITIES
    ]
    if lossless and all(max(Image.open(BytesIO(one)).size) <= SMALL for one in sample):
        attempts.insert(0, {"side": SMALL, "lossless": True})
    for options in attempts:
        if sum(len(as_webp(one, options)) for one in sample) <= budget * len(sample):
            return options
    return attempts[-1]


def as_webp(image: bytes, options: Mapping[str, Any]) -> bytes:
    """Write an image as WebP, which holds its pixels and nothing on what made it.

    Args:
        image: The image, as PNG or WebP.
        options: As `compression` returns them.
    """
    picture = Image.open(BytesIO(image)).convert("RGB")
    how = dict(options)
    side = how.pop("side")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", method=4, **how)
    return buffer.getvalue()


def data_uri(webp: bytes) -> Markup:
    """Write a WebP image as the address of itself, which a page holds in place of a file's."""
    return Markup(f"data:image/webp;base64,{base64.b64encode(webp).decode()}")
