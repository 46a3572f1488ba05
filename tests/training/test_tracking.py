"""What a run shows while it runs."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from dpok_pipeline.training import tracking
from dpok_pipeline.training.tracking import Progress, Reached, lines_above_bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def said() -> Iterator[list[Reached]]:
    """What is told to the command in place of being shown."""
    reached: list[Reached] = []
    tracking.relay_progress_to(reached.append)
    yield reached
    tracking._RELAY.clear()


def show(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """What a stream has received once a step of three units is done."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(tracking, "LINE_SECONDS", seconds)
    with Progress("Step", total=3, unit="unit", images=0) as bar:
        for number in range(3):
            bar.advance(1, 8 * (number + 1), "reward 0.5")
    return stream.getvalue()


def test_a_terminal_has_one_line_that_draws_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(Terminal(), monkeypatch, 60.0)
    assert "\rStep:   0%|" in shown
    assert "0/3, ? left" in shown
    assert shown.count("\n") == 1


def test_what_stays_on_a_terminal_is_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    last = show(Terminal(), monkeypatch, 60.0).rpartition("\r")[2]
    assert last.startswith("Step: 3 of 3 units in 00:00, 24 images, ")
    assert last.endswith("/s, reward 0.5\n")


def test_a_dumb_terminal_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    with Progress("Step", total=3, unit="unit", images=0) as bar:
        bar.advance(3)
    assert terminal.getvalue() == ""


def test_a_file_has_whole_lines_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(io.StringIO(), monkeypatch, 0.0).splitlines()
    reached = [line.partition(",")[0] for line in lines]
    assert reached == [f"Step: {done} of 3 units" for done in range(4)]
    assert "about 00:00 left, 24 images, " in lines[-1]
    assert lines[-1].endswith("/s, reward 0.5")


def test_a_short_step_leaves_no_line_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(io.StringIO(), monkeypatch, 60.0) == ""


def test_it_does_not_matter_if_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `kedro run 2>&1 | head -1`."""
    assert show(Closed(), monkeypatch, 0.0) == ""


def test_where_units_are_images_their_rate_is_shown(said: list[Reached]) -> None:
    with Progress("Images", total=64, unit="image", done=16) as bar:
        bar.advance(16)
    assert said[0] == Reached("Images", 64, "image", 16)
    assert said[-1].done == 32
    assert said[-1].note.endswith(" images/s")
    assert said[-1].ended


def test_a_worker_says_little_and_the_end_once(said: list[Reached]) -> None:
    with Progress("Step", total=1000, unit="unit", images=0) as bar:
        for _ in range(1000):
            bar.advance()
    bar.close()
    assert len(said) < 100
    assert [one.ended for one in said].count(True) == 1


def test_a_logged_line_stands_above_the_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    logger, handler = logging.getLogger("above"), logging.StreamHandler(terminal)
    logger.addHandler(handler)
    with lines_above_bars("above"), Progress("Step", total=3, unit="unit", images=0):
        logger.warning("look")
    logger.removeHandler(handler)
    before, _, after = terminal.getvalue().partition("look\n")
    assert before.endswith("\r")  # the live line was cleared
    assert after.startswith("\rStep:")
    assert handler.stream is terminal
