"""Collections of prompts with what real files hold; the real ones are read where they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpok_pipeline.datasets.prompts.rows import PromptRow
from dpok_pipeline.datasets.prompts.sources import PromptSource, read_source
from dpok_pipeline.errors import InputError
from tests.shared_data import shared_file

MARK = b"\xef\xbb\xbf"
CAPTIONS = [
    "Two pizza pies getting ready to be cut\n.",
    ' A man says "Cheese" \t to  a cat. ',
    "A bird\ufffds nest.",
    'A man says "Cheese" to a cat.',
    "",
    "Ünïcödé and 東京.\u2028Next line.",
]
PARTI = (
    "Prompt\tCategory\tChallenge\tNote\n"
    "bond\tAbstract\tBasic\ta note\n"
    '"Fly an airplane" is written on the wall\tArts\tBasic\t\n'
    'a cat, and a "dog\tAnimals \tBasic\t\n'
    "bond\tAbstract\tBasic\t\n"
    "no note\tArts\tBasic\n"
)


def read(path: Path, format: str, **more: Any) -> list[PromptRow]:
    given = {"experiment": "many", **more}
    return read_source(PromptSource(path=path.as_posix(), format=format, **given))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    annotations = [
        {"id": 10 + number, "image_id": 7, "caption": text} for number, text in enumerate(CAPTIONS)
    ]
    content = {"type": "captions", "images": [], "annotations": annotations}
    path = tmp_path / "captions.json"
    path.write_bytes(MARK + json.dumps(content, ensure_ascii=False).encode())
    return path


@pytest.fixture
def parti(tmp_path: Path) -> Path:
    path = tmp_path / "PartiPrompts.tsv"
    path.write_bytes(MARK + PARTI.replace("\n", "\r\n").encode())
    return path


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    for name, content in {
        "001.Albatross/one.txt": b"a grey bird. \r\na grey\xef\xbf\xbd bird.\n\n",
        "001.Albatross/two.txt": MARK + b"a white bird.\na grey bird.\n",
        "009.Blackbird/one.txt": b"a black bird",
        "009.Blackbird/one.h5": b"\x00\xff",
    }.items():
        path = tmp_path / "text_c10" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "text_c10"


def test_coco_captions_are_cleaned_and_say_where_they_are(
    coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="dpok_pipeline"):
        rows = read(coco, "coco")
    assert [row.text for row in rows] == [
        "Two pizza pies getting ready to be cut .",
        'A man says "Cheese" to a cat.',
        "Ünïcödé and 東京. Next line.",
    ]
    assert rows[0].place == "caption 10 of image 7"
    assert {(row.experiment, row.split, row.source) for row in rows} == {
        ("many", "train", coco.as_posix())
    }
    assert "left out 2 prompts that are empty or damaged" in caplog.text
    assert "at first caption 12 of image 7: holds U+FFFD" in caplog.text
    assert "left out 1 prompts that repeat another" in caplog.text


def test_parti_prompts_keep_their_quote_marks(parti: Path) -> None:
    rows = read(parti, "parti")
    assert [(row.text, row.category, row.place) for row in rows] == [
        ("bond", "Abstract", "line 2"),
        ('"Fly an airplane" is written on the wall', "Arts", "line 3"),
        ('a cat, and a "dog', "Animals", "line 4"),
        ("no note", "Arts", "line 6"),
    ]


def test_cub_captions_have_their_class_as_category(cub: Path) -> None:
    rows = read(cub, "cub")
    assert [(row.text, row.category, row.place) for row in rows] == [
        ("a grey bird.", "001.Albatross", "001.Albatross/one.txt, line 1"),
        ("a white bird.", "001.Albatross", "001.Albatross/two.txt, line 1"),
        ("a black bird", "009.Blackbird", "009.Blackbird/one.txt, line 1"),
    ]
    assert [row.text for row in read(cub / "009.Blackbird", "cub")] == ["a black bird"]


def test_drawbench_is_prompt_to_category(tmp_path: Path) -> None:
    path = tmp_path / "data_meta.json"
    path.write_text('{"A red car.": {"category": "Colors"}, "Two ": {"category": "Marcus "}}')
    assert [(row.text, row.category, row.place) for row in read(path, "drawbench")] == [
        ("A red car.", "Colors", "prompt 1"),
        ("Two", "Marcus", "prompt 2"),
    ]


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("{", "coco", "line 1: not valid JSON"),
        ("[]", "coco", "no list `annotations`"),
        ('{"annotations": [{"bbox": []}]}', "coco", "annotations[0] has no `caption`"),
        ('{"annotations": [{"caption": 3}]}', "coco", "3 is not text"),
        ('["A cat."]', "drawbench", "not DrawBench"),
        ("Prompt,Category\na,b\n", "parti", "line 1: no tab-separated column `Prompt`"),
        ("Prompt\tCategory\na cat\n", "parti", "line 2: 1 fields, the header has 2"),
        ("Prompt\tCategory\na\tb\tc\n", "parti", "line 2: 3 fields, the header has 2"),
        ('text,split\n"Cheese" he says,train\n', "csv", "line 2: quote marks that are not CSV"),
        ('text\nA cat.\n"A dog.\nA cow.\n', "csv", "line 3: quote marks that are not CSV"),
        ("text,split\nA cat, and a dog,train\n", "csv", "line 2: more fields than the header"),
        ("text,\u00a0split\nA cat.,train\n", "csv", "did you mean split?"),
        ("Text,text\nA cat.,A dog.\n", "csv", "column 'Text' is none of"),
        ('"a ""b""\ntext",text\nA cat.,A dog.\n', "csv", "line 1: column"),
        ("text\nA bird\ufffds nest.\n", "csv", "line 2: holds U+FFFD"),
        ("[" * 100_000, "coco", "not valid JSON (nested too deeply"),
        ("1" * 10_000, "coco", "not valid JSON"),
        ('{"A cat.": {"category": "a", "category": "b"}}', "drawbench", "key 'category' twice"),
        ("A cat.\nA bird\ufffds nest.\n", "text", "line 2: holds U+FFFD"),
        ("A cat.\n", "cub", "no such folder"),
    ],
)
def test_a_bad_file_is_one_line_with_the_place(
    tmp_path: Path, content: str, format: str, message: str
) -> None:
    path = tmp_path / "prompts.file"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"prompts\.file") as caught:
        read(path, format)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["coco", "drawbench", "parti", "cub", "csv", "text"])
def test_every_format_names_a_missing_file(tmp_path: Path, format: str) -> None:
    with pytest.raises(InputError, match="none: no such f"):
        read(tmp_path / "none", format)


def test_a_damaged_file_within_a_folder_is_named(cub: Path) -> None:
    (cub / "001.Albatross" / "two.txt").write_bytes(b"a bird\nb\xe9b\xe9\n")
    with pytest.raises(InputError, match=r"two\.txt, line 2: not UTF-8"):
        read(cub, "cub")


def test_a_folder_without_captions_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.txt file in it"):
        read(tmp_path, "cub")


def test_real_coco_captions() -> None:
    rows = read(shared_file("prompts/coco_captions_subset.json"), "coco")
    # Of 25,014; the others repeat one of these but for white space and capitals.
    assert len(rows) == 24_785
    assert all(row.text == " ".join(row.text.split()) for row in rows)
    chosen = read(shared_file("prompts/coco_captions_subset.json"), "coco", sample=104)
    assert len({row.text for row in chosen}) == 104


def test_real_drawbench() -> None:
    rows = read(shared_file("prompts/drawbench_183.json"), "drawbench")
    assert len(rows) == 183
    assert sum(row.category == "Gary Marcus et al." for row in rows) == 10
    assert any("Bismarck-Schönhausen" in row.text for row in rows)


def test_real_cub_captions() -> None:
    path = shared_file("prompts/cub_text_c10")
    rows = read(path, "cub", categories=["030.Fish_Crow"])
    assert rows[0].place == "030.Fish_Crow/Fish_Crow_0001_26031.txt, line 1"
    assert len(read(path, "cub")) == 925
    assert {row.category for row in read(path, "cub", categories=["030.Fish_Crow"])} == {
        "030.Fish_Crow"
    }


def test_real_animals() -> None:
    rows = read(shared_file("prompts/simple_animals.txt"), "text")
    assert len(rows) == 45
    assert rows[0].text == "cat"
