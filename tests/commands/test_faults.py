"""A fault of the program is one line that names the file with its traceback."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dpok_pipeline.commands import faults
from dpok_pipeline.commands.errors import one_line_errors


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; it is no project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPOK_TRACEBACK", raising=False)
    return tmp_path


def break_down(message: str = "a fault") -> None:
    try:
        raise KeyError("latent")
    except KeyError as cause:
        error = ZeroDivisionError(message)
        error.add_note("Traceback of worker 1")
        raise error from cause


def test_the_line_names_a_file_with_the_whole_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        break_down("two\nlines")
    assert ended.value.code == 1
    (path,) = (folder / "logs").iterdir()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ZeroDivisionError: two lines (a fault of the program")
    assert line.endswith(f" logs/{path.name})")
    text = path.read_text()
    for part in ("KeyError: 'latent'", "in break_down", "Traceback of worker 1", " UTC, "):
        assert part in text


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_traceback_is_shown_to_who_asks_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv("DPOK_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError), one_line_errors(traceback=how == "option"):
        break_down()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_where_nothing_can_be_written_the_traceback_is_shown(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(number, "nothing can be written", str(path))

    monkeypatch.setattr(faults, "save_whole", refuse)
    with pytest.raises(ZeroDivisionError), one_line_errors():
        break_down()


def test_a_file_in_the_folders_place_does_no_harm(folder: Path) -> None:
    (folder / "logs").write_text("mine")
    assert faults.keep_traceback(ValueError()) is None
    assert (folder / "logs").read_text() == "mine"


def test_only_the_newest_are_kept_and_foreign_files_stay(folder: Path) -> None:
    (folder / "logs").mkdir()
    (folder / "logs" / "mine.log").touch()
    paths = [faults.keep_traceback(ValueError(str(number))) for number in range(faults.KEPT + 3)]
    left = {path.name for path in (folder / "logs").iterdir()}
    assert left == {"mine.log", *(path.name for path in paths[3:] if path is not None)}


def test_a_message_without_end_is_cut() -> None:
    path = faults.keep_traceback(ValueError("x" * 3 * faults.MOST_KEPT))
    assert path is not None
    assert path.stat().st_size < 2 * faults.MOST_KEPT
    line = faults.explain_fault(ValueError("x" * 1000))
    assert line is not None
    assert len(line) < 500


def test_an_error_that_cannot_be_said_is_named() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "Mute (a fault of the program" in (faults.explain_fault(Mute()) or "")
