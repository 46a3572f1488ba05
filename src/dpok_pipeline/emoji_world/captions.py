"""The caption grammar, in which one sentence says what a picture should show.

The grammar contains the paper's training and unseen prompts word for word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpok_pipeline.emoji_world.vocabulary import (
    COLOUR_NAMES,
    COUNT_WORDS,
    KIND_NAMES,
    PLACES,
    PLURALS,
)


@dataclass(frozen=True)
class Caption:
    """What a sentence says.

    Attributes:
        kind: Kind of the object, or of the first of two.
        count: Number of objects of that kind, 1 to 5.
        colour: Colour of those objects; None if it is not named.
        other: Kind of a second, single object; None if there is none.
        place: Place of the scene; None if it is not named.
    """

    kind: str
    count: int = 1
    colour: str | None = None
    other: str | None = None
    place: str | None = None

    def sentence(self) -> str:
        """Return the caption as an English sentence with a final period."""
        # The paper's prompts have the American spelling.
        coloured = f"{self.colour} colored " if self.colour else ""
        if self.count > 1:
            words = f"{COUNT_WORDS[self.count]} {coloured}{PLURALS[self.kind]}"
        else:
            noun = f"{coloured}{self.kind}"
            words = f"{_article(noun, capital=True)} {noun}"
        if self.other:
            words += f" and {_article(self.other)} {self.other}"
        return f"{words} {PLACES[self.place]}." if self.place else f"{words}."


def _article(noun: str, capital: bool = False) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    return article.capitalize() if capital else article


_SINGULAR = "|".join(KIND_NAMES)
_PLURAL = "|".join(PLURALS.values())
_SENTENCE = re.compile(
    rf"(?:an? |(?P<number>{'|'.join(w.lower() for w in COUNT_WORDS.values())}) )"
    rf"(?:(?P<colour>{'|'.join(COLOUR_NAMES)}) colored )?"
    rf"(?:(?P<plural>{_PLURAL})|(?P<kind>{_SINGULAR}))\b"
    rf"(?: and an? (?P<other>{_SINGULAR}))?"
    rf"(?: (?P<place>{'|'.join(PLACES.values())}))?\.?"
)
_NUMBERS = {word.lower(): count for count, word in COUNT_WORDS.items()}
_SINGULAR_OF = {plural: name for name, plural in PLURALS.items()}
_PLACE_OF = {words: place for place, words in PLACES.items()}


def parse(sentence: str) -> Caption | None:
    """Read a sentence of the grammar back, or return None if it is not one.

    Case, outer white space and the final period do not matter.
    """
    match = _SENTENCE.fullmatch(sentence.strip().lower())
    if match is None:
        return None
    count = _NUMBERS.get(match["number"] or "", 1)
    kind = _SINGULAR_OF.get(match["plural"], match["plural"]) if match["plural"] else match["kind"]
    if (count > 1) != (match["plural"] is not None) and kind != "fish":
        return None
    return Caption(
        kind=kind,
        count=count,
        colour=match["colour"],
        other=match["other"],
        place=_PLACE_OF.get(match["place"] or ""),
    )
