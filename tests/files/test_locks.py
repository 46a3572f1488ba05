"""No lock is given twice, and none outlives what it was for."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from filelock import FileLock

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import lock_file, locked, unlock_file
from tests.files.killed import run_killed


def test_a_folder_that_another_command_works_in_is_refused(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "rl.lock"),
        pytest.raises(InputError, match=r"/rl: in use by another command; wait"),
        locked(tmp_path / "rl"),
    ):
        raise AssertionError("it was let in")
    with locked(tmp_path / "rl"):
        assert (tmp_path / "rl.lock").exists()
    assert not (tmp_path / "rl.lock").exists()


def test_what_fails_can_begin_again_in_the_same_process(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), locked(tmp_path / "rl"):
        raise OSError("the disk is full")
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "rl"):
        pass


def test_a_lock_is_held_until_it_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "local" / "journal.lock"
    lock = lock_file(path, "never shown")
    for _ in range(2):
        with pytest.raises(InputError, match=r"^the same command is running already$"):
            lock_file(path, "the same command is running already")
    unlock_file(lock)
    assert not path.exists()
    unlock_file(lock_file(path, "never shown"))


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.files.locks import locked

with locked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_holds_none(tmp_path: Path) -> None:
    run_killed(KILLED, tmp_path / "rl")
    assert (tmp_path / "rl.lock").exists()
    with locked(tmp_path / "rl"):
        pass
    assert not (tmp_path / "rl.lock").exists()


def test_a_lock_is_given_up_where_its_file_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has become read-only must not hide what the work has come to."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as read_only, locked(tmp_path / "rl"):
        read_only.setattr(Path, "unlink", refuse)
    with locked(tmp_path / "rl"):
        pass
