"""The prompts of conf/custom/custom.yml: lists and files are treated alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.io.core import DatasetError

from dpok_pipeline.datasets.prompts.own import OwnPromptsDataset
from dpok_pipeline.datasets.prompts.rows import PromptRow


def read(train: Any, unseen: Any = ("a dog",)) -> list[PromptRow]:
    given = {"train": train, "unseen": list(unseen) if isinstance(unseen, tuple) else unseen}
    return OwnPromptsDataset(experiment="custom", source="custom.yml", **given).load()


def test_a_list_gives_the_texts_that_a_file_would_give(tmp_path: Path) -> None:
    texts = ["A cafe\u0301. ", "a\ufeff  cat", "two \t dogs"]
    (tmp_path / "mine.txt").write_text("\n".join(texts), encoding="utf-8")
    listed = read(texts)
    filed = read({"path": (tmp_path / "mine.txt").as_posix(), "format": "text"})
    assert [row.text for row in listed] == ["A café.", "a cat", "two dogs", "a dog"]
    assert [row.text for row in listed] == [row.text for row in filed]
    assert listed[1].place == "prompts.train, prompt 2"
    assert {(row.experiment, row.split) for row in listed} == {
        ("custom", "train"),
        ("custom", "unseen"),
    }


def test_line_breaks_of_a_list_become_blanks() -> None:
    assert read(["a cat\nin a  hat"])[0].text == "a cat in a hat"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (["a cat", "a bird\ufffds"], "custom.yml: prompts.train, prompt 2: holds U+FFFD"),
        (["a\0cat"], "custom.yml: prompts.train, prompt 1: holds U+0000"),
        (["\u200b"], "custom.yml: prompts.train, prompt 1: nothing in the prompt is visible"),
        ([" "], "custom.yml: prompts.train, prompt 1: the prompt is empty"),
        ([7], "custom.yml: prompts.train, prompt 1: 7 is not text; put it in quotes"),
        (None, "custom.yml: prompts.train is None: give a list of prompts, or a file"),
        ([], "custom.yml: prompts.train is []: give a list"),
        ({}, "custom.yml: prompts.train is {}: give a list"),
        ("a cat", "custom.yml: prompts.train is 'a cat': give a list"),
        ({"path": "x", "format": "xml"}, "custom.yml: prompts.train.format: Input should be"),
        ({1: "x"}, "custom.yml: prompts.train"),
    ],
)
def test_what_is_no_prompt_is_named_with_its_place(train: Any, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(train)
    assert str(caught.value.__cause__).startswith(message)


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("text,split\na cat,train\na cow,unseen\n", {}, "line 3 is of the split 'unseen' of"),
        (
            "text,experiment\na cat,pets\n",
            {},
            "line 2 is of the split 'train' of experiment 'pets'",
        ),
        ("text\na cat\n", {"split": "unseen"}, "line 2 is of the split 'unseen' of"),
        ("text\na cat\n", {"experiment": "pets"}, "of experiment 'pets' instead of 'train' of"),
    ],
)
def test_a_file_that_names_another_split_or_experiment_is_refused(
    tmp_path: Path, content: str, more: dict[str, str], said: str
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match="choose by `file_split`") as caught:
        read({"path": path.as_posix(), "format": "csv", **more})
    assert said in str(caught.value.__cause__)


def test_a_file_with_both_splits_serves_both(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,split\na cat,train\na cow,test\n")
    train, unseen = (
        {"path": path.as_posix(), "format": "csv", "file_split": split}
        for split in ("train", "test")
    )
    assert [(row.text, row.split) for row in read(train, unseen)] == [
        ("a cat", "train"),
        ("a cow", "unseen"),
    ]
