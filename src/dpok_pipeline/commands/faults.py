"""A fault of the program is one line, too, which names the file with its traceback."""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from kedro.utils import find_kedro_project

from dpok_pipeline.files.durable import save_whole

#: Folder of the project in which tracebacks are kept, and how many of them are.
LOGS, KEPT = "logs", 10
#: What the line says of the error.
FAULT = "a fault of the program"
#: Letters of a traceback that are kept: a message may quote a whole table.
MOST_KEPT = 1_000_000

_MOST_SHOWN = 300  # letters of a message on the terminal


def explain_fault(error: BaseException) -> str | None:
    """Keep an error's traceback in a file, and say in one line what has happened.

    Args:
        error: Error that has ended the command.

    Returns:
        The line, which names the file; None if nothing can be written, as on a full disk.
    """
    path = keep_traceback(error)
    if path is None:
        return None
    name, said = type(error).__name__, one_line(_message(error))
    if len(said) > _MOST_SHOWN:
        said = f"{said[:_MOST_SHOWN]} …"
    shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
    words = f"{name}: {said}" if said else name
    return f"{words} ({FAULT}, whose traceback is in {shown})"


def keep_traceback(error: BaseException) -> Path | None:
    """Write an error's traceback to a file of its own, and remove the oldest such files.

    What a worker process has said of the error is among the error's notes, and written as well.

    Returns:
        The file; None if it cannot be written.
    """
    try:
        folder = Path(find_kedro_project(Path.cwd()) or Path.cwd()) / LOGS
        now = datetime.now(UTC)
        path = folder / f"{now:%Y-%m-%dT%H.%M.%S.%fZ}.{os.getpid()}.log"
        text = "".join(traceback.format_exception(error))
        if len(text) > MOST_KEPT:
            half = MOST_KEPT // 2
            text = f"{text[:half]}\n[…]\n{text[-half:]}"
        said = f"{now:%Y-%m-%d %H:%M:%S} UTC, {shlex.join(sys.argv)}\n\n{text}"
        save_whole(path, said.encode(errors="backslashreplace"))
    except OSError:
        return None
    with suppress(OSError):
        for old in sorted(folder.glob("*Z.*.log"))[:-KEPT]:
            old.unlink(missing_ok=True)
    return path


def one_line(message: str) -> str:
    """Put a message into one line, without what a terminal would obey."""
    # A message may quote what a file by others holds, such as a terminal's escape codes.
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", message).split())


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an error's own __str__ may have a fault, too
        return ""
