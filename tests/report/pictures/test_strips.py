"""The report's section on what methods made of the same noises while they trained."""

from __future__ import annotations

from io import BytesIO

import pandas as pd
from PIL import Image

from dpok_pipeline.report.pictures.strips import GAP, SIDE, draw_strip, scenes, small
from dpok_pipeline.report.rendering import TEMPLATES, template_environment
from tests.evaluation.synthetic import METHODS

STEPS = {0: 0, 3: 48, 5: 1024}


def png(colour: tuple[int, int, int], side: int = 16) -> dict[str, bytes | None]:
    buffer = BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def filmstrip(prompt: str = "A <green> rabbit.", side: int = 16) -> pd.DataFrame:
    """Red grows with the step, green with the noise."""
    return pd.DataFrame(
        [
            {
                "step": step,
                "images_seen": seen,
                "noise": noise,
                "prompt": prompt,
                "image": png((50 * step, 60 * noise, 0), side),
            }
            for step, seen in STEPS.items()
            for noise in range(4)
        ]
    )


def test_rows_are_noises_and_columns_are_steps() -> None:
    strip = draw_strip(filmstrip()[::-1])  # in whatever order the rows are
    assert strip.size == (3 * 16 + 2 * GAP, 4 * 16 + 3 * GAP)
    for column, step in enumerate(STEPS):
        for row in range(4):
            place = (column * (16 + GAP) + 8, row * (16 + GAP) + 8)
            assert strip.getpixel(place) == (50 * step, 60 * row, 0, 255)
    assert strip.getpixel((16 + GAP // 2, 8)) == (0, 0, 0, 0)  # a gap shows the page


def test_a_section_has_a_strip_for_each_experiment_and_method() -> None:
    strips = {
        "color": {"sft": filmstrip(), "dpok": filmstrip()},
        "count": {"dpok": filmstrip("Four wolves.")},
        "location": {},
    }
    found = scenes(strips, METHODS)
    assert [scene.prompt for scene in found] == ["A <green> rabbit.", "Four wolves."]
    assert [strip.method.name for strip in found[0].strips] == ["sft", "dpok"]
    strip = found[1].strips[0]
    assert strip.columns == ["base model", "48", "1,024 images"]
    assert strip.description == (
        "4 rows of pictures of “Four wolves.”, each row begun from one noise: what DPOK "
        "makes of it after 0, 48 and 1,024 images of training"
    )
    page = template_environment(TEMPLATES).get_template("parts/strips.html.j2").render(scenes=found)
    assert page.count("<img") == 3
    assert strip.picture in page
    assert "A &lt;green&gt; rabbit." in page
    assert "Watch it learn" in page


def test_without_filmstrips_there_is_no_section() -> None:
    assert scenes({"color": {}}, METHODS) == []
    page = template_environment(TEMPLATES).get_template("parts/strips.html.j2").render(scenes=[])
    assert not page.strip()


def test_what_reports_keep_is_no_larger_than_the_page_needs() -> None:
    large, tiny = small(filmstrip(side=SIDE * 4)), small(filmstrip())
    assert set(large["noise"]) == set(range(4))
    assert Image.open(BytesIO(large["image"].iloc[0]["bytes"])).size == (SIDE, SIDE)
    assert tiny["image"].iloc[0] == filmstrip()["image"].iloc[0]
