"""What a command says: to a file, to a terminal, and where the program has a fault."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dpok_pipeline.algorithms.sft import generation
from dpok_pipeline.commands.faults import FAULT
from tests.end_to_end.conftest import Command, Outcome
from tests.project import PROMPTS, make_project, surroundings

pytestmark = pytest.mark.xdist_group("whole run")

COMMAND = [sys.executable, "-m", "kedro", "run", "--env", "smoke"]
PIPELINES = ["--pipelines", "prompt_preparation,sample_generation,rl_training"]
TWO = ("--workers", "2")
#: More than a run of one experiment has to say.
MOST_LINES = 60


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one experiment, whose log says how serious each message is."""
    folder = make_project(tmp_path_factory.mktemp("small") / "dpok-pipeline")
    prompts = folder / "data" / "01_raw" / "prompts" / "paper.yml"
    prompts.write_text(PROMPTS.splitlines()[0])
    (folder / "conf" / "smoke" / "experiments.yml").write_text("experiments: [color]\n")
    logging = folder / "conf" / "logging.yml"
    plain, levels = 'plain: {format: "', 'plain: {format: "%(levelname)s '
    assert plain in logging.read_text()
    logging.write_text(logging.read_text().replace(plain, levels))
    return folder


def in_a_terminal(folder: Path, *options: str) -> str:
    """Run a command in a terminal of 100 columns; return all that it has drawn."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *options],
        cwd=folder,
        env=surroundings(TERM="xterm"),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            drawn += os.read(ours, 65536)
        except OSError:  # the process has ended
            break
    os.close(ours)
    assert process.wait() == 0, drawn
    return drawn.decode().replace("\r\n", "\n")


@pytest.mark.stress
@pytest.mark.parametrize("workers", [(), TWO], ids=["alone", "workers"])
def test_a_file_has_few_lines_and_no_warning(small: Path, workers: tuple[str, ...]) -> None:
    log = small / "run.log"
    with log.open("w") as file:
        subprocess.run(
            [*COMMAND, *workers],
            cwd=small,
            env=surroundings(TERM="xterm"),
            stdout=file,
            stderr=file,
            check=True,
        )
    text = log.read_text()
    (last,) = re.findall(r"\[(\d+)/\1\]", text)
    assert "\r" not in text
    assert "\x1b" not in text
    assert "warning" not in text.lower()
    assert text.count("while it trains, the base model's first: ") == 2  # by SFT and by DPOK
    lines = text.splitlines()
    assert len(lines) < MOST_LINES
    # Between two nodes nothing is said but by the project: all else would have no level.
    before_the_table = text.partition(f"[{last}/{last}]")[0].splitlines()
    assert all(line.startswith("INFO ") for line in before_the_table), before_the_table
    often = {line: count for line, count in Counter(filter(str.strip, lines)).items() if count > 2}
    assert not often


@pytest.mark.stress
@pytest.mark.parametrize("workers", [(), TWO], ids=["alone", "workers"])
def test_a_terminal_has_live_lines(small: Path, workers: tuple[str, ...]) -> None:
    drawn = in_a_terminal(small, *PIPELINES, *workers)
    frames = [frame for line in drawn.split("\n") for frame in line.split("\r")]
    title = "color dpok:" if workers else "DPOK:"
    live = [frame for frame in frames if frame.startswith(title) and "|" in frame]
    assert " 0/2, ? left" in live[0]
    assert any(" 1/2, 00:" in frame and " 8 images, " in frame for frame in live)
    assert any(" images/s" in frame for frame in frames)
    (end,) = [frame for frame in frames if "2 of 2 iterations in 00:" in frame]
    assert "16 images, " in end
    assert "reward " in end
    # What is logged has a line of its own.
    logged = [frame for frame in frames if "INFO " in frame]
    assert [frame for frame in logged if not frame.lstrip("\x1b[A").startswith("INFO ")] == []
    assert sum("the base model's first: " in frame for frame in logged) == 1


def test_what_is_odd_about_the_prompts_is_said_once(
    environment: Callable[..., str], kedro_run: Command, project: Path
) -> None:
    environment("one")
    (project / "conf" / "one" / "experiments.yml").write_text("experiments: [color]\n")
    result = kedro_run("--pipelines", "prompt_preparation", env="one")
    assert result.exit_code == 0, result.output
    assert result.log.count("no pipeline uses composition") == 1


def test_a_fault_of_a_node_is_one_line_and_a_file(
    finished: Outcome, kedro_run: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("a test")

    monkeypatch.setattr(generation, "_make_shard", break_down)
    result = kedro_run("--pipelines", "sample_generation", "--namespaces", "color")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith(
        f"Error: ZeroDivisionError: a test ({FAULT}, whose traceback is in logs/"
    )
    text = (project / line.rpartition(" ")[2].rstrip(")")).read_text()
    assert "in break_down" in text
    assert "in fill_shards" in text
    monkeypatch.undo()
    assert kedro_run("--pipelines", "sample_generation", "--namespaces", "color").exit_code == 0
