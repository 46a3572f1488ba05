"""Folders that are either finished or not there: written aside, sealed, then renamed.

A sealed folder holds a marker with the size and sha256 of every other file in it. A folder
without the marker is never read, and a file that differs from it is refused by name.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.durable import flush

MARKER = "_complete.json"


def partial_path(final: Path) -> Path:
    """Name the folder that is written before it gets its real name."""
    return final.with_name(f"{final.name}.partial")


def seal(partial: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Write the marker of a folder, flush everything to disk, and give it its real name.

    Args:
        partial: The folder as written; nothing is added to it afterwards.
        final: Its real name, which must not exist yet.
        metadata: What a reader may want to know without opening the files.
    """
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    marker = {
        "metadata": metadata,
        "files": {path.relative_to(partial).as_posix(): describe(path) for path in files},
    }
    marker_path = partial / MARKER
    marker_path.write_text(json.dumps(marker, indent=1, sort_keys=True), encoding="utf-8")
    for path in (*files, marker_path, partial):
        flush(path)
    os.replace(partial, final)
    flush(final.parent)


def copy_sealed(source: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Copy a folder so that the copy is either whole or not there."""
    partial = partial_path(final)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial)
    seal(partial, final, metadata)


def read_marker(folder: Path) -> dict[str, Any]:
    """Read what a finished folder says of itself.

    Raises:
        InputError: The folder is unfinished, or its marker cannot be read.
    """
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        marker["files"].items()
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not finished, its marker {MARKER} is missing; make it again"
        ) from None
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise InputError(f"{folder / MARKER}: cannot be read ({error}); make it again") from None
    return marker


def check_file(folder: Path, name: str, expected: dict[str, Any]) -> Path:
    """Compare one file with what the marker says of it.

    Returns:
        The file's path.

    Raises:
        InputError: It is missing, shorter or longer, or its bytes differ.
    """
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path}: missing, though {MARKER} lists it; make it again")
    if path.stat().st_size != expected["bytes"]:
        raise InputError(
            f"{path}: {path.stat().st_size} bytes instead of {expected['bytes']}; make it again"
        )
    if describe(path)["sha256"] != expected["sha256"]:
        raise InputError(f"{path}: its contents differ from {MARKER}; make it again")
    return path


def check(folder: Path) -> dict[str, Any]:
    """Compare every file of a folder with its marker, and return the marker's metadata."""
    marker = read_marker(folder)
    for name, expected in marker["files"].items():
        check_file(folder, name, expected)
    metadata: dict[str, Any] = marker["metadata"]
    return metadata


def describe(path: Path) -> dict[str, Any]:
    """Give a file's size in bytes and its sha256."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
