from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.scale.page import BEGIN, END, fill_page, page_text

from dpok_pipeline.errors import InputError

ROOT = Path(__file__).parents[3]


def test_the_page_has_what_the_command_writes() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert fill_page(page, page_text(ROOT)) == page, "run `python -m benchmarks.scale --write`"


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert fill_page(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(InputError, match="no tables between"):
        fill_page("nothing here", "new")
