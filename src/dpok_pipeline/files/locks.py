"""Locks that keep two processes out of one folder or one run.

A lock is a file that the system unlocks when its process ends, however it ends. A lock file that
is left behind by a killed process therefore keeps nobody out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dpok_pipeline.errors import InputError


def lock_file(path: Path, message: str) -> FileLock:
    """Take a lock at once or refuse; it is held until `unlock_file`.

    Args:
        path: The lock file, which is made with its folder if need be.
        message: What the user is told if another process, or another part of this one, has the
            lock.

    Raises:
        InputError: The lock is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(message) from None
    return lock


def unlock_file(lock: FileLock) -> None:
    """Remove a lock's file and give the lock up.

    Where the file system refuses, the file stays, and keeps nobody out.
    """
    # In this order: a file that is removed after it was unlocked could be another process's lock.
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep others out of a work folder, because two commands can be given the same one.

    The lock file lies beside the folder, which may itself be removed meanwhile.

    Raises:
        InputError: Another process, or another part of this one, is working in the folder.
    """
    lock = lock_file(
        folder.with_name(f"{folder.name}.lock"),
        f"{folder}: in use by another command; wait until it has ended, then give this one again",
    )
    try:
        yield
    finally:
        unlock_file(lock)
