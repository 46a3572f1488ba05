"""The caption grammar: a `Caption` says what a picture should show, and has one sentence.

The grammar contains the paper's training and unseen prompts word for word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dpok_pipeline.emoji_world.vocabulary import (
    COLOR_NAMES,
    COUNT_WORDS,
    KIND_NAMES,
    PLACES,
    PLURALS,
)


@dataclass(frozen=True)
class Caption:
    """What a sentence says; unnamed attributes are None (or a count of one).

    Attributes:
        kind: The (first) object's kind.
        count: How many of it, 1 to 5.
        color: Its named colour, if any.
        other: A second kind, one of it, if any.
        place: A named place, if any.
    """

    kind: str
    count: int = 1
    color: str | None = None
    other: str | None = None
    place: str | None = None

    def sentence(self) -> str:
        """Return the caption as an English sentence with a final period."""
        colored = f"{self.color} colored " if self.color else ""
        if self.count > 1:
            words = f"{COUNT_WORDS[self.count]} {colored}{PLURALS[self.kind]}"
        else:
            noun = f"{colored}{self.kind}"
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
    rf"(?:(?P<color>{'|'.join(COLOR_NAMES)}) colored )?"
    rf"(?:(?P<plural>{_PLURAL})|(?P<kind>{_SINGULAR}))\b"
    rf"(?: and an? (?P<other>{_SINGULAR}))?"
    rf"(?: (?P<place>{'|'.join(PLACES.values())}))?\.?"
)
_NUMBERS = {word.lower(): count for count, word in COUNT_WORDS.items()}
_SINGULAR_OF = {plural: name for name, plural in PLURALS.items()}
_PLACE_OF = {words: place for place, words in PLACES.items()}


def parse(sentence: str) -> Caption | None:
    """Read a sentence of the grammar back; None where it is not one.

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
        color=match["color"],
        other=match["other"],
        place=_PLACE_OF.get(match["place"] or ""),
    )
