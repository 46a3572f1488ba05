"""Files that are whole or not there, and what a full disk leaves of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: it is never seen in part.

    Raises:
        OSError: the disk is full; what was there before still is, and nothing else.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        write_durably(partial, content)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe_bytes(content: bytes) -> dict[str, int | str]:
    """Size in bytes and sha256, as a manifest lists them."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
