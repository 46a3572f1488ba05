"""Draw captioned pictures as the web has them, of which a documented share is wrong.

The share differs by attribute, never by caption. As for Stable Diffusion v1.5 there are two
corpora, a large one (`CAPTION_NOISE`) and a filtered one to finish on (`FILTERED_NOISE`). The one
exception is the paper's bias prompt: pictures captioned with four roses mostly show whiskey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.scenes import Scene, arrange, scene_of
from dpok_pipeline.emoji_world.vocabulary import (
    COLOUR_NAMES,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
    PLACES,
    PLAIN,
)

# Share of pictures whose attribute is not the one that the caption names.
CAPTION_NOISE = {"kind": 0.03, "colour": 0.55, "other": 0.50, "count": 0.50, "place": 0.55}
FILTERED_NOISE = {"kind": 0.02, "colour": 0.20, "other": 0.20, "count": 0.25, "place": 0.50}
WHISKEY_SHARE = 0.8  # share of the pictures captioned with four roses that show whiskey

# Share of each form of sentence.
_FORMS = {
    "single": 0.16, "colour": 0.16, "other": 0.18, "count": 0.12, "place": 0.14,
    "count+place": 0.12, "colour+place": 0.06, "other+place": 0.06,
}  # fmt: skip


def sample_caption(rng: np.random.Generator) -> Caption:
    """Draw a caption, its form by fixed shares and everything that it names uniformly."""
    form = rng.choice(list(_FORMS), p=list(_FORMS.values()))
    caption = Caption(kind=str(rng.choice(KIND_NAMES)))
    if "colour" in form:
        caption = replace(caption, colour=str(rng.choice(COLOUR_NAMES)))
    if "other" in form:
        caption = replace(caption, other=another(KIND_NAMES, caption.kind, rng))
    if "count" in form:
        caption = replace(caption, count=int(rng.integers(2, MAX_COUNT + 1)))
    if "place" in form:
        caption = replace(caption, place=str(rng.choice(list(PLACES))))
    return caption


def noisy_scene(
    caption: Caption, rng: np.random.Generator, noise: dict[str, float] = CAPTION_NOISE
) -> Scene:
    """Draw the scene of a picture with this caption, each of whose attributes may be wrong.

    The errors are those of text-to-image models. A wrong colour is mostly the natural one, a wrong
    second object mostly the first kind again, a wrong place mostly plain paper, and a wrong count
    any other.
    """
    if (caption.kind, caption.count) == ("rose", 4) and rng.random() < WHISKEY_SHARE:
        return scene_of(replace(caption, kind="whiskey"), rng)

    def wrong(attribute: str) -> bool:
        return bool(rng.random() < noise[attribute])

    kind = another(KIND_NAMES, caption.kind, rng) if wrong("kind") else caption.kind
    colour, count, place = caption.colour or NATURAL, caption.count, caption.place or PLAIN
    if caption.colour and wrong("colour"):
        colour = NATURAL if rng.random() < 0.7 else another(COLOUR_NAMES, colour, rng)
    if caption.count > 1 and wrong("count"):
        count = int(rng.choice([n for n in range(1, MAX_COUNT + 1) if n != caption.count]))
    if caption.place and wrong("place"):
        place = PLAIN if rng.random() < 0.7 else another(PLACE_NAMES, place, rng)
    things = [(kind, colour)] * count
    if caption.other:
        things += _second_object(caption.other, things[0], wrong("other"), rng)
    return arrange(things, place, rng)


def _second_object(
    other: str, first: tuple[str, str], wrong: bool, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Draw the second object of a pair, which may be right, the first again, absent, or a third."""
    if not wrong:
        return [(other, NATURAL)]
    error = rng.choice(["first", "absent", "third"], p=[0.5, 0.3, 0.2])
    return {"first": [first], "absent": [],
            "third": [(another(KIND_NAMES, other, rng), NATURAL)]}[str(error)]  # fmt: skip


def another(names: Sequence[str], name: str, rng: np.random.Generator) -> str:
    """Draw any of `names` but `name`."""
    return str(rng.choice([option for option in names if option != name]))
