from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.datasets.prompts.rows import PromptRow
from dpok_pipeline.datasets.prompts.sources import PromptSource, read_source
from dpok_pipeline.errors import InputError

WORDS = [f"prompt {number}" for number in range(40)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(
        "text,split,category\n"
        "a cat,train,animals\n"
        "a cup,train,things\n"
        "a dog,test,animals\n"
        "a cow,val,animals\n"
        "a jug,test,things \n"
    )
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(WORDS))
    return path


def read(path: Path, format: str = "csv", **more: Any) -> list[PromptRow]:
    given = {"experiment": "many", **more}
    return read_source(PromptSource(path=path.as_posix(), format=format, **given))


def texts(rows: list[PromptRow]) -> list[str]:
    return [row.text for row in rows]


def test_a_files_own_splits_become_ours(table: Path) -> None:
    train = read(table, file_split="train")
    unseen = read(table, file_split="test", split="unseen")
    assert [(row.text, row.split) for row in train + unseen] == [
        ("a cat", "train"),
        ("a cup", "train"),
        ("a dog", "unseen"),
        ("a jug", "unseen"),
    ]


def test_a_chosen_split_keeps_its_name_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "prompts.yml"
    path.write_text("color:\n  train: [A red cat.]\n  unseen: [A red dog.]\n")
    assert [row.split for row in read(path, "experiments", file_split="unseen")] == ["unseen"]
    assert [row.split for row in read(path, "experiments", split="unseen")] == ["train", "unseen"]


def test_splits_with_other_names_must_be_chosen(table: Path) -> None:
    with pytest.raises(InputError, match="line 4: split 'test': use train or unseen, or take"):
        read(table)
    with pytest.raises(InputError, match="file_split: no prompt with 'dev' .*test, train, val"):
        read(table, file_split="dev")


def test_categories(table: Path) -> None:
    rows = read(table, file_split="test", split="unseen", categories=["things"])
    assert texts(rows) == ["a jug"]
    with pytest.raises(InputError, match="no prompt with 'birds' .*animals, things"):
        read(table, file_split="train", categories=["animals", "birds"])


def test_filters_come_before_the_first(table: Path) -> None:
    assert texts(read(table, file_split="test", split="unseen", first=1)) == ["a dog"]


@pytest.mark.parametrize("name", ["first", "sample"])
def test_too_few_prompts_are_an_error(words: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"`{name}` is 41, but there are 40 prompts"):
        read(words, "text", **{name: 41})


def test_a_sample_is_fixed_by_its_seed(words: Path) -> None:
    assert texts(read(words, "text", sample=3)) == ["prompt 22", "prompt 26", "prompt 27"]
    other = texts(read(words, "text", sample=3, seed=1))
    assert other == ["prompt 3", "prompt 6", "prompt 19"]


@given(st.integers(1, 40), st.integers(0, 1000))
def test_a_sample_is_a_part_of_the_file_in_its_order(words: Path, count: int, seed: int) -> None:
    drawn = texts(read(words, "text", sample=count, seed=seed))
    assert drawn == [word for word in WORDS if word in drawn]
    assert len(drawn) == count
    smaller = texts(read(words, "text", sample=max(count - 1, 1), seed=seed))
    assert set(smaller) <= set(drawn)


def test_a_sample_does_not_depend_on_the_order_of_the_file(words: Path, tmp_path: Path) -> None:
    (tmp_path / "reversed.txt").write_text("\n".join(reversed(WORDS)))
    there = texts(read(tmp_path / "reversed.txt", "text", sample=9))
    assert there == list(reversed(texts(read(words, "text", sample=9))))


def test_every_prompt_is_drawn_about_equally_often(words: Path) -> None:
    """20 of 40 with 300 seeds: each 150 times, with a deviation of 8.7."""
    counts = dict.fromkeys(WORDS, 0)
    for seed in range(300):
        for text in texts(read(words, "text", sample=20, seed=seed)):
            counts[text] += 1
    assert all(abs(count - 150) < 4 * 8.7 for count in counts.values())
