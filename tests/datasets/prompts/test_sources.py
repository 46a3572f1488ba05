from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from kedro.io.core import DatasetError

from dpok_pipeline.datasets.prompts.formats import READERS
from dpok_pipeline.datasets.prompts.rows import PromptRow
from dpok_pipeline.datasets.prompts.sources import PromptSource, PromptSourcesDataset, read_source
from dpok_pipeline.errors import InputError


def read(path: Path, format: str, **more: Any) -> list[PromptRow]:
    return read_source(PromptSource(path=path.as_posix(), format=format, **more))


def test_experiments_give_train_and_unseen_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yml"
    path.write_text("color:\n  train: [A red cat.]\n  unseen: [A red dog.]\n")
    rows = read(path, "experiments")
    assert [(row.text, row.experiment, row.split) for row in rows] == [
        ("A red cat.", "color", "train"),
        ("A red dog.", "color", "unseen"),
    ]


def test_text_is_one_prompt_a_line_with_byte_order_mark_and_trailing_blanks(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"\xef\xbb\xbfA cat. \r\nA dog.\r\n\r\n")
    assert [row.text for row in read(path, "text", experiment="pets")] == ["A cat.", "A dog."]


def test_csv_takes_experiment_split_and_category_from_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('text,split,category\n"A cat, and a dog.",unseen,pairs\nA cat.,,\n')
    first, second = read(path, "csv", experiment="pets")
    assert (first.text, first.split, first.category) == ("A cat, and a dog.", "unseen", "pairs")
    assert (second.experiment, second.split, second.category) == ("pets", "train", "")


def test_an_empty_text_file_has_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text(" \n\n")
    assert read(tmp_path / "prompts.txt", "text", experiment="pets") == []


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        (b"\xff\xfe\x00", "text", "line 1: not UTF-8"),
        (b"color: [unclosed", "experiments", "not valid YAML"),
        (b"- a list", "experiments", "expected `experiment:"),
        (b"color: {test: [A cat.]}", "experiments", "color.test, prompt 1: split 'test'"),
        (b"color: {train: A cat.}", "experiments", "color.train: expected a list"),
        (b"color: {train: [3]}", "experiments", "prompt 1: 3 is not text"),
        (b"prompt\nA cat.\n", "csv", "no column `text`"),
        (b"text,split\nA cat.,test\n", "csv", "line 2: split 'test'"),
    ],
)
def test_a_bad_file_is_named_with_the_place(
    tmp_path: Path, content: bytes, format: str, message: str
) -> None:
    path = tmp_path / "prompts.file"
    path.write_bytes(content)
    with pytest.raises(InputError, match="prompts.file") as caught:
        read(path, format, experiment="pets")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.txt: no such file"):
        read(tmp_path / "none.txt", "text", experiment="pets")
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path, "text", experiment="pets")


@pytest.mark.parametrize("format", READERS)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, format: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind((tmp_path / "socket").as_posix())
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(InputError, match=f"{path}: (a pipe, socket or device|no such f)"):
                read(path, format, experiment="pets")


def test_a_pipe_among_captions_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one.txt")
    with pytest.raises(InputError, match=r"one\.txt: a pipe, socket or device"):
        read(tmp_path, "cub", experiment="pets")


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, message in {"dangling": "no such file", "circle": "too many levels"}.items():
        with pytest.raises(InputError, match=f"{name}: {message}"):
            read(tmp_path / name, "text", experiment="pets")


def test_a_file_without_read_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.txt").write_text("a cat")

    def refuse(*_: object, **__: object) -> None:  # The superuser may read everything.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"mine\.txt: permission denied; correct prompt_sources"):
        read(tmp_path / "mine.txt", "text", experiment="pets")


def test_a_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(3 * 2**30)  # takes no room
    with pytest.raises(InputError, match=r"huge\.csv: 3\.0 GiB; .* may have 0\.5 GiB"):
        read(tmp_path / "huge.csv", "csv", experiment="pets")


def test_a_text_file_needs_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("A cat.\n")
    with pytest.raises(InputError, match="set `experiment`"):
        read(tmp_path / "prompts.txt", "text")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splt": "a"}, r"prompt_sources\.mine\.splt: Extra"),
        ({"format": "xml"}, r"prompt_sources\.mine\.format"),
        ({"sample": 0}, r"prompt_sources\.mine\.sample"),
        ({"first": 2, "sample": 2}, r"prompt_sources\.mine: .*exclude each other"),
        ({"first": True}, r"prompt_sources\.mine\.first: .*valid integer"),
        ({"seed": True}, r"prompt_sources\.mine\.seed: .*valid integer"),
        ({"categories": []}, r"prompt_sources\.mine\.categories: .*at least 1 item"),
        ({"path": ""}, r"prompt_sources\.mine\.path"),
        ({"path": "a\0b"}, r"prompt_sources\.mine\.path"),
    ],
)
def test_a_wrong_field_is_named(given: dict[str, Any], message: str) -> None:
    mine = {"path": "x", "format": "text", **given}
    with pytest.raises(DatasetError, match=message):
        PromptSourcesDataset(sources={"mine": mine}).load()


@pytest.mark.parametrize("sources", [None, {}, [], "mine.txt", [{"path": "x"}]])
def test_sources_that_are_none_are_named(sources: Any) -> None:
    dataset = PromptSourcesDataset(sources=sources)
    with pytest.raises(
        DatasetError, match=r"prompt_sources\.sources is .*: give at least one"
    ) as e:
        dataset.load()
    assert isinstance(e.value.__cause__, InputError)


@pytest.mark.parametrize("source", [None, "mine.txt", ["mine.txt"], 5, {1: 2}, {}])
def test_a_source_that_is_no_mapping_is_named(source: Any) -> None:
    with pytest.raises(DatasetError, match=r"prompt_sources\.5") as caught:
        PromptSourcesDataset(sources={5: source}).load()
    assert isinstance(caught.value.__cause__, InputError)
