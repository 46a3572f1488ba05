"""Makes rows of prompts, and decides which texts are prompts and which of them are the same.

Whatever a prompt comes from, a file or a list in the configuration, it goes through `make_row` and
`keep_prompts`.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from dpok_pipeline.errors import InputError

logger = logging.getLogger(__name__)

# Control characters, halves of surrogate pairs, and the character that stands for a lost one.
DAMAGE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")

# Unicode's general categories of characters that leave no ink: format characters, white space,
# and marks that need a letter to sit on.
INKLESS = frozenset(("Cc", "Cf", "Cs", "Mn", "Me", "Zs", "Zl", "Zp"))

# These count as letters or symbols in Unicode, but are blank: fillers of Hangul, and of Braille.
FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


class PromptRow(NamedTuple):
    """One prompt, what it is used for, and where it stands.

    Attributes:
        text: The prompt in Unicode's composed form (NFC), with each run of white space turned into
            one blank.
        experiment: Experiment whose models train on the prompt or are evaluated on it.
        split: `train` or `unseen`. In a row that has just been read, it is the file's own word for
            the split, or empty.
        category: Category that the file names; empty if it names none.
        source: File or folder.
        place: Place in the file or folder, for messages.
        corpus: Whether the prompt comes from a collection by others, which is cleaned rather than
            refused.
    """

    text: str
    experiment: str
    split: str
    category: str
    source: str
    place: str
    corpus: bool = False


def make_row(
    source: str,
    place: str,
    text: object,
    *,
    category: str = "",
    split: str = "",
    experiment: str = "",
    corpus: bool = False,
) -> PromptRow:
    """Make a row of what stands in a file or in the configuration; None stands for no text.

    Raises:
        InputError: The text is something else, such as a number.
    """
    if not isinstance(text, str | None):
        # Anything larger is not shown: aliases of YAML can make it as long as one likes.
        small = isinstance(text, float) or (isinstance(text, int) and text.bit_length() < 64)
        shown = repr(text) if small else f"a {type(text).__name__}"
        raise InputError(f"{source}: {place}: {shown} is not text; put it in quotes")
    # Where a row stands is printed and kept; names of files and of keys hold anything.
    source, place = (
        DAMAGE.sub(lambda damage: ascii(damage[0])[1:-1], name) for name in (source, place)
    )
    return PromptRow(
        text=clean_text(text or ""),
        experiment=clean_text(experiment),
        split=clean_text(split),
        category=clean_text(category),
        source=source,
        place=place,
        corpus=corpus,
    )


def clean_text(text: str) -> str:
    """Return a text in composed form, on one line, with single blanks.

    A byte-order mark can stand within a text that was joined from several files.
    """
    return " ".join(unicodedata.normalize("NFC", text.replace("\ufeff", "")).split())


def comparison_key(text: str) -> str:
    """Return what two texts have in common if they are the same prompt.

    CLIP's tokenizer takes capital letters for small ones, and a reader does not see format
    characters such as a zero-width space.
    """
    if not text.isascii():
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", text.casefold())


def keep_prompts(rows: Iterable[PromptRow]) -> list[PromptRow]:
    """Refuse what is no prompt, and leave it out of collections by others, together with repeats.

    Nobody can correct those collections. What a user's own list repeats is refused by
    `prepare_prompts`, which knows the lists of all sources.

    Raises:
        InputError: A text of a user's list is empty, invisible, or holds a character that no text
            has.
    """
    distinct: dict[object, PromptRow] = {}
    damaged: list[tuple[PromptRow, str]] = []
    number = 0
    for number, row in enumerate(rows, start=1):
        if not (reason := why_no_prompt(row)):
            distinct.setdefault(comparison_key(row.text) if row.corpus else number, row)
        elif row.corpus:
            damaged.append((row, reason))
        else:
            raise InputError(f"{row.source}: {row.place}: {reason}")
    if damaged:
        first, reason = damaged[0]
        logger.warning(
            "%s: left out %d prompts that are empty or damaged, at first %s: %s",
            first.source,
            len(damaged),
            first.place,
            reason.partition(";")[0],
        )
    if repeated := number - len(damaged) - len(distinct):
        source = next(iter(distinct.values())).source
        logger.info("%s: left out %d prompts that repeat another", source, repeated)
    return list(distinct.values())


def why_no_prompt(row: PromptRow) -> str | None:
    """Say what is wrong with a row, and what to do about it; None if nothing is."""
    for field in (row.text, row.category, row.experiment):
        if damage := DAMAGE.search(field):
            return f"holds {_describe(damage[0])}; correct the prompt"
    if not row.text:
        return "the prompt is empty; remove it"
    if all(unicodedata.category(letter) in INKLESS or letter in FILLERS for letter in row.text):
        first = _code_point(row.text[0])
        return f"nothing in the prompt is visible, it begins with {first}; remove it"
    return None


def _describe(letter: str) -> str:
    category = unicodedata.category(letter)
    meaning = {"Cc": "a control character", "Cs": "half of a surrogate pair"}.get(
        category, "a character lost when the text was converted"
    )
    return f"{_code_point(letter)}, {meaning}"


def _code_point(letter: str) -> str:
    return f"U+{ord(letter):04X}"
