"""One line on what is wrong with a value of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

#: Where a group of parameters can stand.
PARAMETERS = "conf/*/parameters*.yml or --params"
#: Advice on a name that resembles none that is known.
SPELLING = "check its spelling or remove it"


def explain_field(where: str, error: Mapping[str, Any]) -> str:
    """Say what is wrong with one field, and what to do about it.

    Args:
        where: The file and the field's dotted name.
        error: One of the errors that Pydantic lists.
    """
    return explain_value(where, str(error["type"]), repr(error["input"]), str(error["msg"]))


def explain_value(where: str, kind: str, value: str, message: str) -> str:
    """Say what is wrong with one field, from the parts of a Pydantic error.

    Args:
        where: The file and the field's dotted name.
        kind: Pydantic's name for this kind of error.
        value: The field's value, as it is to be shown.
        message: Pydantic's sentence on it.
    """
    if kind == "extra_forbidden":
        return f"{where}: no such parameter; check its spelling or remove it"
    if kind == "missing":
        return f"{where} is missing: set it"
    return f"{where} is {value}: {lower_first(message)}"


def lower_first(sentence: str) -> str:
    """Return a sentence as it stands after a colon, without its capital letter."""
    return sentence[:1].lower() + sentence[1:]


def advise(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """Propose the known name that a misspelt one resembles.

    Args:
        name: The name that is not known.
        known: The names that could be meant.
        otherwise: Advice if no known name resembles it; None lists the known names.
    """
    names = sorted(known)
    if close := difflib.get_close_matches(str(name), names, n=1):
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(names)}" if otherwise is None else otherwise
