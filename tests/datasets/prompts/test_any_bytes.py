"""Whatever a prompt file holds: clean rows, or one line that says what is wrong."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpok_pipeline.datasets.prompts.formats import READERS
from dpok_pipeline.datasets.prompts.rows import comparison_key
from dpok_pipeline.datasets.prompts.sources import PromptSource, read_source
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.prompt_preparation.nodes import check_distinct, name_prompts

INVISIBLE = ("Cc", "Cf", "Cs", "Mn", "Me", "Zs", "Zl", "Zp")

# Words that mean something to one of the formats, and characters that mean trouble to many.
PIECES = st.sampled_from(
    [
        *("text", "split", "category", "experiment", "Prompt", "Category", "caption", "color"),
        *("train", "unseen", "a cat", "A CAT", "a caf\u00e9", "a cafe\u0301", "猫", "5", "~"),
        *("0x", "1:99", "&a", "*a", "!!binary", "- ", ": ", "{", "}", "[", "]", "<<", "---", "%"),
        *("2001-99-99", "!!timestamp x", "!!bool x"),
        *(",", "\t", "\n", "\r", '"', "'", "\\ud800", "\\u0000", "#", "|", " ", "1e999"),
        *("\0", "\x1b", "\x85", "\u200b", "\u200d", "\ufeff", "\ufffd", "\u2028", "\u3164"),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=20).map("".join), st.text(max_size=40))
WORDS = st.lists(PIECES, max_size=5).map("".join)
JSON = st.recursive(
    st.one_of(WORDS, st.none(), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


def as_json(make: Callable[[object], object]) -> st.SearchStrategy[str]:
    return JSON.map(lambda value: json.dumps(make(value)))


TABLES = st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=5)
SHAPED: dict[str, st.SearchStrategy[str]] = {
    "text": st.lists(WORDS, max_size=6).map("\n".join),
    "csv": TABLES.map(lambda rows: "text,split,category\n" + "\n".join(map(",".join, rows))),
    "parti": TABLES.map(lambda rows: "Prompt\tCategory\n" + "\n".join(map("\t".join, rows))),
    "coco": as_json(lambda value: {"annotations": [{"caption": value}, {"caption": "a cat"}]}),
    "drawbench": st.dictionaries(WORDS, st.fixed_dictionaries({"category": JSON})).map(json.dumps),
    "experiments": as_json(lambda value: {"color": {"train": [value], "unseen": ["a dog"]}}),
    "cub": st.lists(WORDS, max_size=6).map("\n".join),
}


@pytest.mark.parametrize("format", READERS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_give_clean_rows_or_one_line(
    tmp_path: Path, format: str, data: st.DataObject
) -> None:
    shaped = SHAPED[format]
    content = data.draw(
        st.one_of(
            st.one_of(TEXTS, shaped).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.tuples(shaped, TEXTS).map(lambda both: "".join(both).encode()),
            st.binary(max_size=60),
        )
    )
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    place = tmp_path if format == "cub" else path
    try:
        rows = read_source(PromptSource(path=place.as_posix(), format=format, experiment="many"))
        check_distinct(rows)
        name_prompts(rows)
    except InputError:
        return
    assert len({(row.experiment, comparison_key(row.text)) for row in rows}) == len(rows)
    for row in rows:
        assert unicodedata.is_normalized("NFC", row.text)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl") for letter in row.text)
        assert any(unicodedata.category(letter) not in INVISIBLE for letter in row.text)
        assert row.text == " ".join(row.text.split())
        "".join(map(str, row)).encode()
