"""Values that are written for the command line are read there as what they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kedro.framework.cli.utils import _split_params

from dpok_pipeline.runs.params import write_value

PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=",$\\")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(PLAIN | st.text(PRINTABLE) | st.lists(PLAIN | st.text(PRINTABLE), max_size=1))
def test_a_value_is_read_as_it_was(value: Any) -> None:
    read = _split_params(None, None, f"group.name={write_value(value)}")["group"]["name"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-05, "1e-05"),
        ("a cat", "a cat"),
        ("1", '"1"'),
        ([], "[]"),
    ],
)
def test_a_value_is_written_as_a_person_would(value: Any, text: str) -> None:
    assert write_value(value) == text
