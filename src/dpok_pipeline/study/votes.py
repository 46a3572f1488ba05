"""The raters' files: one JSON file per person, as the study's page writes it.

```json
{"format": "study-votes/1", "study": "0f1e2d3c4b5a6978", "rater": "anna",
 "votes": [{"pair": "1a2b3c4d", "alignment": "left", "quality": "tie"}]}
```

A file is counted whole or not at all: one that cannot be counted is refused by its name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints, ValidationError

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import UNPRINTABLE, one_line
from dpok_pipeline.study.pairs import Key

#: What a rater is asked of every pair, in this order.
QUESTIONS = ("alignment", "quality")
FORMAT = "study-votes/1"
MOST_BYTES = 1_000_000  # a file of 60 pairs has about 5,000

Choice = Literal["left", "tie", "right"]


class PairVote(FrozenConfig):
    """What a rater said of one pair."""

    pair: str = Field(description="Id of the pair.")
    alignment: Choice = Field(description="The set that shows better what the prompt asks for.")
    quality: Choice = Field(description="The set whose images are better.")


class RaterFile(FrozenConfig):
    """All votes of one rater."""

    format: Literal["study-votes/1"] = Field(description="Kind and release of the file.")
    study: str = Field(description="Id of the page that the rater saw.")
    rater: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=60, description="Name or pseudonym that the rater chose."
    )
    votes: tuple[PairVote, ...] = Field(description="One entry for every pair of the page.")


class Votes(NamedTuple):
    """The raters' files of a folder, each by its path.

    Attributes:
        files: One file per rater.
    """

    files: dict[str, RaterFile]


def read_votes(folder: Path) -> Votes:
    """Read all raters' files of a folder; one that is absent or empty has none.

    Raises:
        InputError: A file is broken or has another ending, two are by the same rater, or they are
            of different studies.
    """
    paths = sorted(path for path in Path(folder).glob("*") if not path.name.startswith("."))
    others = [path for path in paths if path.suffix != ".json"]
    if others:
        raise InputError(
            f"{others[0]}: no file of a rater's, as its name does not end with .json; give it the "
            "name that the page has given it, or move it away"
        )
    files = {path.as_posix(): read_file(path) for path in paths}
    raters: dict[str, str] = {}
    for path, file in files.items():
        name = " ".join(file.rater.casefold().split())
        if name in raters:
            raise InputError(
                f"{path}: rater: {one_line(file.rater, 60)!r} has voted in {raters[name]} already; "
                "keep one of the two files"
            )
        raters[name] = path
    _refuse_two_studies(files)
    return Votes(files)


def _refuse_two_studies(files: dict[str, RaterFile]) -> None:
    for path, file in files.items():
        first, other = next(iter(files.items()))
        if file.study != other.study:
            raise InputError(
                f"{path}: study: the file is of the page {one_line(file.study, 20)}, {first} of "
                f"{one_line(other.study, 20)}; keep the files of one page and move the others away"
            )


def read_file(path: Path) -> RaterFile:
    """Read one rater's file.

    Raises:
        InputError: It is not what the page writes. The message names the field.
    """
    content = _read_json(path)
    try:
        file = RaterFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(one_line(str(part), 40) for part in first["loc"]) or "the file"
        raise InputError(f"{path}: {field}: {_reason(first)}; {_REMEDY}") from None
    if UNPRINTABLE.search(file.rater):
        raise InputError(f"{path}: rater: the name has unprintable characters; correct it")
    counts = Counter(vote.pair for vote in file.votes)
    for pair, count in counts.items():
        if count > 1:
            raise InputError(
                f"{path}: votes: pair {one_line(pair, 20)} is there {count} times; {_REMEDY}"
            )
    return file


_REMEDY = "ask the rater to download the file again from the page, or move it away"


def _reason(problem: Any) -> str:
    """Say what Pydantic found, in the words of somebody who has never heard of it."""
    if problem["type"] == "missing":
        return "it is missing"
    if problem["type"] == "extra_forbidden":
        return "the page writes no such field"
    return one_line(str(problem["msg"]).removeprefix("Input ").replace("should be", "expected"), 90)


def _read_json(path: Path) -> Any:
    """Read JSON strictly: no key twice, no number that JSON does not have.

    Raises:
        InputError: The file cannot be read, is too large, or is no such JSON.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than {MOST_BYTES:,} bytes; {_REMEDY}")
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); move it away") from None
    except _Repeated as error:
        raise InputError(f"{path}: {error.args[0]}: the field is there twice; {_REMEDY}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not the JSON that the page writes; {_REMEDY}") from None


class _Repeated(Exception):
    """A field that is there twice; its argument is the field's name."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise _Repeated(one_line(name, 40))
    return dict(pairs)


def check_votes(votes: Votes, key: Key) -> None:
    """Refuse files that are not of the key's page, or have not a vote for each of its pairs.

    Raises:
        InputError: There is such a file. The message names it, the field and the remedy.
    """
    pairs = [str(entry["pair"]) for entry in key["pairs"]]
    for path, file in votes.files.items():
        if file.study != key["study"]:
            raise InputError(
                f"{path}: study: the file is of the page {one_line(file.study, 20)}, the newest "
                f"page is {key['study']}; move the file away, or count it by its own page's key: "
                "`kedro run --from-nodes count_votes_node --load-versions study_key:VERSION`"
            )
        _check_pairs(path, [vote.pair for vote in file.votes], pairs)


def _check_pairs(path: str, voted: Sequence[str], pairs: Sequence[str]) -> None:
    unknown = [pair for pair in voted if pair not in pairs]
    if unknown:
        raise InputError(
            f"{path}: votes: the page has no pair {one_line(unknown[0], 20)}; {_REMEDY}"
        )
    lacking = [pair for pair in pairs if pair not in voted]
    if lacking:
        raise InputError(
            f"{path}: votes: {len(lacking)} of {len(pairs)} pairs have no vote, {lacking[0]} among "
            "them; ask the rater to finish on the same device and download the file again"
        )
