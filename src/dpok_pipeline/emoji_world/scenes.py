"""Scenes, which say what objects there are, where, how large, and in which place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpok_pipeline.emoji_world.captions import Caption
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE, NATURAL, PLAIN

# For each number of objects the alternative sets of slots (their centres), the range of sizes, and
# the distance in x and y by which an object may stray from its slot, all in pixels.
_LAYOUTS: dict[int, tuple[list[list[tuple[int, int]]], tuple[int, int], tuple[int, int]]] = {
    1: ([[(32, 34)]], (34, 44), (8, 8)),
    2: ([[(16, 33), (48, 33)]], (27, 30), (2, 10)),
    3: ([[(17, 18), (47, 18), (32, 46)], [(32, 18), (17, 46), (47, 46)]], (24, 26), (3, 3)),
    4: ([[(17, 17), (47, 17), (17, 47), (47, 47)]], (23, 26), (3, 3)),
    5: ([[(12, 18), (32, 18), (52, 18), (21, 46), (43, 46)],
         [(21, 18), (43, 18), (12, 46), (32, 46), (52, 46)]], (19, 20), (1, 3)),
}  # fmt: skip


@dataclass(frozen=True)
class SceneObject:
    """One drawn object, with centre `x`, `y` and side `size` in pixels."""

    kind: str
    colour: str
    x: int
    y: int
    size: int
    flipped: bool


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows."""

    objects: tuple[SceneObject, ...]
    place: str

    def shows(self, caption: Caption) -> bool:
        """Return whether the scene shows what the caption says; what it does not say is free."""
        expected = [caption.kind] * caption.count + ([caption.other] if caption.other else [])
        kinds_right = sorted(item.kind for item in self.objects) == sorted(expected)
        colours_right = caption.colour is None or all(
            item.colour == caption.colour for item in self.objects if item.kind == caption.kind
        )
        place_right = caption.place is None or self.place == caption.place
        return kinds_right and colours_right and place_right


def arrange(things: list[tuple[str, str]], place: str, rng: np.random.Generator) -> Scene:
    """Put objects into a layout that has a slot for each.

    Args:
        things: Kind and colour of each of one to five objects.
        place: Name of the place.
        rng: Source of the slots, the objects' distances from them, sizes and mirrorings.
    """
    layouts, (smallest, largest), (dx, dy) = _LAYOUTS[len(things)]
    slots = layouts[rng.integers(len(layouts))]
    size = int(rng.integers(smallest, largest + 1))
    objects = []
    for (kind, colour), slot in zip(things, rng.permutation(slots), strict=True):
        half = size // 2 + 1
        stray = rng.integers([-dx, -dy], [dx + 1, dy + 1])
        x, y = np.clip(slot + stray, half, IMAGE_SIZE - half)
        objects.append(SceneObject(kind, colour, int(x), int(y), size, bool(rng.integers(2))))
    return Scene(tuple(objects), place)


def scene_of(caption: Caption, rng: np.random.Generator) -> Scene:
    """Draw a scene that shows exactly what a caption says, with natural colours on plain paper."""
    things = [(caption.kind, caption.colour or NATURAL)] * caption.count
    if caption.other:
        things.append((caption.other, NATURAL))
    return arrange(things, caption.place or PLAIN, rng)
