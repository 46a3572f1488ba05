"""What exists in EmojiWorld: kinds of objects, colours, places and numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        name: Singular noun used in captions.
        plural: Plural noun used in captions.
        emoji: The character whose Noto Color Emoji glyph is the sprite.
    """

    name: str
    plural: str
    emoji: str


KINDS = (
    Kind("rabbit", "rabbits", "\N{RABBIT FACE}"),
    Kind("cat", "cats", "\N{CAT FACE}"),
    Kind("dog", "dogs", "\N{DOG FACE}"),
    Kind("wolf", "wolves", "\N{WOLF FACE}"),
    Kind("lion", "lions", "\N{LION FACE}"),
    Kind("bird", "birds", "\N{BIRD}"),
    Kind("bear", "bears", "\N{BEAR FACE}"),
    Kind("pig", "pigs", "\N{PIG FACE}"),
    Kind("frog", "frogs", "\N{FROG FACE}"),
    Kind("duck", "ducks", "\N{DUCK}"),
    Kind("fish", "fish", "\N{FISH}"),
    Kind("cup", "cups", "\N{HOT BEVERAGE}"),
    Kind("rose", "roses", "\N{ROSE}"),
    Kind("whiskey", "whiskeys", "\N{TUMBLER GLASS}"),
    Kind("apple", "apples", "\N{RED APPLE}"),
    Kind("car", "cars", "\N{AUTOMOBILE}"),
)
KIND_NAMES = tuple(kind.name for kind in KINDS)
PLURALS = {kind.name: kind.plural for kind in KINDS}

# RGB of the full tint; the sprite's shading is kept (see `sprites.tint`).
COLOURS = {
    "red": (225, 30, 35),
    "green": (40, 170, 60),
    "blue": (40, 90, 225),
    "yellow": (245, 205, 30),
    "purple": (140, 60, 190),
}
COLOUR_NAMES = tuple(COLOURS)
NATURAL = "natural"

# The words of a caption for each place. "plain" is a sheet of pastel paper, which has no words.
PLACES = {"park": "in the park", "moon": "on the moon", "beach": "on the beach"}
PLAIN = "plain"
PLACE_NAMES = (PLAIN, *PLACES)

COUNT_WORDS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
MAX_COUNT = 5
IMAGE_SIZE = 64
