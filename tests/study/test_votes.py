"""Raters' files: whatever the page does not write is refused, in one line that names the file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpok_pipeline.errors import InputError
from dpok_pipeline.study.votes import Votes, check_votes, read_votes
from tests.study.made import key_of

KEY = key_of(("p1", "a", "b"), ("p2", "b", "a"), ("p3", "a", "b"))
GOOD: dict[str, Any] = {
    "format": "study-votes/1",
    "study": KEY["study"],
    "rater": "Anna",
    "votes": [{"pair": pair, "alignment": "left", "quality": "tie"} for pair in ("p1", "p2", "p3")],
}


def write(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def counted(folder: Path) -> Votes:
    votes = read_votes(folder)
    check_votes(votes, KEY)
    return votes


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as raised:
        counted(folder)
    (line,) = str(raised.value).splitlines()
    assert ";" in line, "a remedy is missing"
    return line


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **fields}


def test_a_good_file_is_counted(tmp_path: Path) -> None:
    votes = counted(write(tmp_path, "anna.json", GOOD))
    (file,) = votes.files.values()
    assert file.rater == "Anna"
    assert [vote.quality for vote in file.votes] == ["tie"] * 3


@pytest.mark.parametrize("name", ["ben.JSON", "ben.json.txt", "ben"])
def test_a_file_that_would_not_be_counted_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, "anna.json", GOOD)
    assert f"{name}: no file of a rater's" in refused(write(tmp_path, name, changed(rater="Ben")))


@pytest.mark.parametrize("make", [False, True], ids=["absent", "empty"])
def test_a_folder_without_files_is_fine(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "votes"
    if make:
        folder.mkdir()
        (folder / ".gitkeep").touch()
    assert counted(folder).files == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not the JSON that the page writes"),
        ("[]", "the file"),
        ('{"format": "a", "format": "b"}', "format: the field is there twice"),
        ("[" * 100_000, "not the JSON"),
        ('"' + "x" * 1_000_001 + '"', "larger than 1,000,000 bytes"),
        (changed(rater=""), "rater: "),
        (changed(rater="An\u202ena"), "rater: the name has unprintable characters"),
        (changed(rater=3), "rater: "),
        (changed(age=30), "age: the page writes no such field"),
        (changed(format="study-votes/2"), "format: "),
        ({key: value for key, value in GOOD.items() if key != "study"}, "study: it is missing"),
        (changed(study="fedcba9876543210"), "study: the file is of the page fedcba9876543210"),
        (changed(votes=GOOD["votes"][:2]), "votes: 1 of 3 pairs have no vote, p3 among them"),
        (changed(votes=[*GOOD["votes"], GOOD["votes"][0]]), "votes: pair p1 is there 2 times"),
        (changed(votes=[*GOOD["votes"], {**GOOD["votes"][0], "pair": "p9"}]), "has no pair p9"),
        (changed(votes=[{"pair": "p1", "alignment": "left"}]), "votes.0.quality: it is missing"),
        (changed(votes=[{**GOOD["votes"][0], "quality": "both"}]), "votes.0.quality: "),
    ],
)  # fmt: skip
def test_what_the_page_does_not_write_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    line = refused(write(tmp_path, "anna.json", content))
    assert line.startswith(f"{(tmp_path / 'anna.json').as_posix()}: ")
    assert said in line


def test_the_same_rater_twice_is_refused_with_both_files(tmp_path: Path) -> None:
    write(tmp_path, "anna.json", GOOD)
    line = refused(write(tmp_path, "again.json", changed(rater=" anna ")))
    assert "anna.json: rater: 'Anna' has voted in" in line
    assert "again.json already" in line


def test_files_of_two_pages_are_refused_without_a_key(tmp_path: Path) -> None:
    write(tmp_path, "anna.json", GOOD)
    write(tmp_path, "berta.json", changed(rater="Berta", study="fedcba9876543210"))
    with pytest.raises(InputError, match="keep the files of one page"):
        read_votes(tmp_path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert "cannot be read" in refused(tmp_path)


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good file with one thing missing, unexpected, repeated or replaced by anything else."""
    content = copy.deepcopy(GOOD)
    vote = draw(st.sampled_from(content["votes"]))
    place = draw(st.sampled_from([content, vote]))
    field = draw(st.sampled_from(sorted(place)))
    kind = draw(st.sampled_from(["missing", "unexpected", "repeated", "replaced", "dropped"]))
    if kind == "missing":
        del place[field]
    elif kind == "unexpected":
        place[draw(st.text(max_size=8).filter(lambda name: name not in place))] = draw(JSON)
    elif kind == "repeated":
        content["votes"].append(dict(vote))
    elif kind == "dropped":
        content["votes"].remove(vote)
    else:
        value = draw(JSON)
        # Another name is another rater and nothing else.
        is_name = field == "rater" and isinstance(value, str)
        place[field] = 0 if is_name else value
    return content


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damaged())
def test_no_damaged_file_is_counted(tmp_path: Path, content: Any) -> None:
    line = refused(write(tmp_path, "anna.json", content))
    assert "anna.json: " in line
    assert len(line) < 500


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200))
def test_no_bytes_get_through(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "anna.json").write_bytes(content)
    refused(tmp_path)
