"""Checksums of files, and the list `SHA256SUMS` beside a model's files.

A safetensors file that is cut short cannot be read; one with a changed bit, or one in the place of
another, can. Where a folder holds the list, such a file is refused by name. The list has the format
of `sha256sum`, so that `sha256sum --check SHA256SUMS` reads it.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from dpok_pipeline.errors import InputError

CHECKSUMS = "SHA256SUMS"

# A file system's clock ticks every few milliseconds. A file that changed less than this many
# seconds ago could change once more without another time stamp, so its hash is not remembered.
_SETTLED_SECONDS = 1.0


class _FileState(NamedTuple):
    """What changes whenever a file's content does, unless somebody forges it."""

    size: int
    modified_ns: int
    changed_ns: int


_known_hashes: dict[Path, tuple[_FileState, str]] = {}


def file_sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes.

    The hash is remembered for the life of the process, and computed again only if the file's size
    or time stamps have changed: a command hashes each model once, however many nodes open it.
    """
    path = path.absolute()
    state = _file_state(path)
    known = _known_hashes.get(path)
    if known is not None and known[0] == state:
        return known[1]
    settled = time.time() - state.changed_ns / 1e9 > _SETTLED_SECONDS
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if settled and _file_state(path) == state:
        _known_hashes[path] = (state, digest)
    return digest


def write_checksums(folder: Path) -> None:
    """List every file of a model's folder with its sha256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Compare a folder's files with its `SHA256SUMS`. A folder without one is accepted.

    Raises:
        InputError: A listed file is missing or differs, or the list cannot be read.
    """
    listing = folder / CHECKSUMS
    if not listing.is_file():
        return
    remedy = f"copy the folder again, or write {CHECKSUMS} anew if the change was meant"
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, separator, name = line.partition("  ")
        if not separator:
            raise InputError(f"{listing}: {line[:60]!r} is no line of `sha256sum`; {remedy}")
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, though {CHECKSUMS} lists it; {remedy}")
        if file_sha256(path) != expected:
            raise InputError(f"{path}: its sha256 is not that of {CHECKSUMS}; {remedy}")


def _file_state(path: Path) -> _FileState:
    status = os.stat(path)
    return _FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)
