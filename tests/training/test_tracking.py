"""What a run shows while it runs."""

from __future__ import annotations

import io
import sys

import pytest

from dpok_pipeline.training import tracking


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """What a stream has received once a step of three units is done."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(tracking, "LINE_SECONDS", seconds)
    with tracking.progress_bar("Step", total=3, unit="unit") as bar:
        for _ in range(3):
            bar.update()
    return stream.getvalue()


def test_a_terminal_has_a_bar_that_draws_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(Terminal(), monkeypatch, 60.0)
    assert "\rStep: 100%" in shown
    assert shown.count("\n") == 1


def test_a_file_has_whole_lines_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(io.StringIO(), monkeypatch, 0.0).splitlines()
    reached = [line.partition(",")[0] for line in lines]
    assert reached == [f"Step: {done} of 3 units" for done in range(4)]


def test_a_short_step_leaves_no_line_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(io.StringIO(), monkeypatch, 60.0) == ""
