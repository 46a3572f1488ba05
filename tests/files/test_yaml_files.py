"""A YAML file is either read whole or refused in one line that names the file and the line."""

from __future__ import annotations

import os
import string
from pathlib import Path

import pytest
import yaml

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
# Eight levels of nine references each stand for more than 43 million values.
LAUGHS = "a: &a [1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip(string.ascii_lowercase[:8], string.ascii_lowercase[1:9], strict=True)
)


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("conf/*/*.yml"), *ROOT.glob("data/01_raw/prompts/*.yml")]),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_the_files_of_the_repository_are_read_as_pyyaml_reads_them(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_key_wins_over_that_of_a_merged_anchor(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("one: &one {x: 1, y: 2}\ntwo: {<<: *one, x: 3}\nthree: {<<: *one, y: 4}\n")
    content = read_yaml(path)
    assert content["two"] == {"x": 3, "y": 2}
    assert content["three"] == {"x": 1, "y": 4}


def test_an_empty_file_holds_nothing_and_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "empty.yml").write_text("# nothing\n")
    (tmp_path / "marked.yml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(tmp_path / "empty.yml") is None
    assert read_yaml(tmp_path / "marked.yml") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is given twice, first in line 1; remove one of them"),
        ("x:\n  a: 1\n  'a': 2\n", "line 3: a is given twice, first in line 2"),
        ("- {a: 1, a: 1}\n", "line 1: a is given twice, first in line 1"),
        ('{"a": 1,\n "a": 2}\n', "line 2: a is given twice, first in line 1"),
        ("5: 1\n", "line 1: the key 5 is no text; put it in quotes"),
        ("a: {on: 1}\n", "line 1: the key on is no text; put it in quotes"),
        ("? [a]\n: 1\n", "line 1: the key is no text; put it in quotes"),
        ("a: [\n", "line 2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: 2024-13-45\n", "not valid YAML (month must be in 1..12)"),
        ("a: !!python/object:os.system {}\n", "line 1: not valid YAML (could not determine"),
        ("a: !!int x\n", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: *b\n", "line 1: not valid YAML (found undefined alias"),
        (b"a: \x00\n", "not valid YAML"),
        ("a: é\n".encode("latin-1"), "line 1: not UTF-8 text; save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: not UTF-8 text; save it as UTF-8"),
        ("a: " + "[" * 200_000, "over 100 levels"),
        ("\n".join(" " * depth + "a:" for depth in range(200)), "over 100 levels"),
        ("a: &a [*a]\n", "line 1: the anchor holds itself"),
        ("a: &a {b: {<<: *a}}\n", "line 1: the anchor holds itself"),
        (LAUGHS, "anchors repeat over 100,000 values"),
    ],
)
def test_what_does_not_mean_one_thing_is_refused(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = tmp_path / "mine.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as raised:
        read_yaml(path)
    assert str(path) in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "link.yml").symlink_to("nowhere")
    (tmp_path / "circle.yml").symlink_to("circle.yml")
    os.mkfifo(tmp_path / "pipe.yml")  # it would wait for ever
    for name, said in {
        "folder.yml": "not a file; remove it",
        "link.yml": "a link to nothing; remove it",
        "circle.yml": "too many levels of symbolic links",
        "pipe.yml": "not a file; remove it",
        "none.yml": "no such file",
    }.items():
        with pytest.raises(InputError, match=f"{name}: {said}"):
            read_yaml(tmp_path / name)
