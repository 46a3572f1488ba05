"""Images that are made small enough for a page."""

from __future__ import annotations

from dpok_pipeline.report.pictures.webp import as_webp, compression
from tests.study import made

SIDES = (384, 256)


def test_all_images_are_compressed_in_one_way_whatever_is_in_them() -> None:
    rich, poor, best = made.photograph(), made.photograph((2,)), {"side": 384, "quality": 86}
    budget = len(as_webp(poor, best)) + 2_000
    assert compression([poor] * 4, budget, SIDES) == best
    assert compression([rich, poor, rich, poor], budget, SIDES) != best
    small, whole = made.png("dpok", 3), {"side": 128, "lossless": True}
    assert compression([small], 10_000, SIDES, lossless=True) == whole
    assert compression([small], 10_000, SIDES) == best
    assert compression([small, rich], 10_000_000, SIDES, lossless=True) == best
