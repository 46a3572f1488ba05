"""`SHA256SUMS` beside a model's files: where it is, a changed bit is refused by name.

A safetensors file that is cut short shows it; one with a changed bit, or in the place of another,
does not. The file is `sha256sum`'s own: `sha256sum --check SHA256SUMS` reads it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dpok_pipeline.errors import InputError

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """List every file of a model's folder with its sha256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Compare a folder's files with its `SHA256SUMS`; without one nothing is checked.

    Raises:
        InputError: a listed file is missing or differs, or the list cannot be read.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return
    remedy = f"copy the folder again, or write {SUMS} anew if the change was meant"
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        expected, separator, name = line.partition("  ")
        if not separator:
            raise InputError(f"{sums}: {line[:60]!r} is no line of `sha256sum`; {remedy}")
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing, though {SUMS} lists it; {remedy}")
        if file_sha256(path) != expected:
            raise InputError(f"{path}: its sha256 is not that of {SUMS}; {remedy}")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
