"""Write files so that they are either whole or absent, even on a full disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePath
from typing import TypedDict


class FileEntry(TypedDict):
    """What a manifest says of a file: its size in bytes and its hexadecimal sha256."""

    bytes: int
    sha256: str


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen in part.

    Raises:
        OSError: The disk is full. The file that was there before is unchanged.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        write_durably(partial, content)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    flush(path.parent)


def save_whole(path: PurePath, content: bytes) -> None:
    """Make the folder of a file if need be, and write the file like `replace_durably`."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(final, content)


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe_bytes(content: bytes) -> FileEntry:
    """Return the entry that a manifest has for a file with this content."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
