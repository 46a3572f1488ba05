"""One process at a time in a work folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dpok_pipeline.errors import InputError


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keep others out of a work folder: two commands can have the same one.

    The lock is a file beside the folder, which may itself be removed meanwhile. The system frees
    the lock of a process that is killed.

    Raises:
        InputError: another process, or another part of this one, is in it.
    """
    path = folder.with_name(f"{folder.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: in use by another command; wait until it has ended, then give this one "
            "again"
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
