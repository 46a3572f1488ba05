"""What a worker prints and shows, and what becomes of it where the command says it."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from dpok_pipeline.training.tracking import Progress
from dpok_pipeline.workers.messages import Line
from dpok_pipeline.workers.worker import _Lines
from tests.training.test_tracking import Terminal
from tests.workers.test_runner import node, run


class Messages(list[Any]):
    """An outbox that sends nothing."""

    def send(self, message: Any) -> None:
        self.append(message)


def sent(*texts: str) -> list[str]:
    """The lines that are sent of what is printed."""
    outbox: Any = Messages()
    lines = _Lines(outbox)
    for text in texts:
        assert lines.write(text) == len(text)
    return [line.text for line in outbox if isinstance(line, Line)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["one\ntwo\n"], ["one", "two"]),
        (["on", "e\n"], ["one"]),
        (["\r 0 %", "\r50 %", "\r100 %", "\n"], ["100 %"]),
        (["\r 0 %", "\r50 %"], []),
        (["a line\r\nanother\r", "\n"], ["a line", "another"]),
        (["drawn\r", "over\n"], ["over"]),
    ],
)
def test_of_what_is_drawn_over_the_last_is_sent(texts: list[str], expected: list[str]) -> None:
    assert sent(*texts) == expected


def show(folder: str) -> str:
    """Draw a library's bar, and one of the project's."""
    for _ in tqdm(range(20), desc="Loading", mininterval=0.0):
        pass
    with Progress("DPOK", 3, "iteration", images=0) as bar:
        for number in range(3):
            time.sleep(0.01)
            bar.advance(1, 8 * (number + 1), f"reward {number}")
    return folder


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_worker_has_one_live_line_on_a_terminal_and_none_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    run(tmp_path, node(show, "end"))
    assert isinstance(sys.stderr, io.StringIO)
    shown = sys.stderr.getvalue()
    assert shown.count("Loading: 100%") == 1
    assert shown.count("\n") == (2 if stream is Terminal else 1)
    assert ("\rshow: DPOK:   0%|" in shown) == (stream is Terminal)
    assert ("show: DPOK: 3 of 3 iterations in 00:0" in shown) == (stream is Terminal)
    assert ("24 images" in shown and "reward 2" in shown) == (stream is Terminal)
