"""The manifest of a folder: whether it is finished, what it holds, and what it was made from.

Checkpoints, sealed folders and folders of shards all have the same manifest, `_manifest.json`:

    {"complete": true, "metadata": {…}, "files": {"NAME": {"bytes": 1234, "sha256": "…"}}}

A sealed folder is written under another name and renamed once its manifest is there. A folder
without a complete manifest is never read as finished, and a file that differs from its entry is
refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.durable import FileEntry, flush, replace_durably

MANIFEST = "_manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself.

    Attributes:
        metadata: What a reader may want to know without opening the files, as JSON values.
        files: Size and sha256 of every file, by its path inside the folder.
        complete: Whether the folder is finished.
    """

    metadata: dict[str, Any]
    files: dict[str, FileEntry]
    complete: bool = True


def partial_path(final: Path) -> Path:
    """Return the name under which a folder is written before it gets its real name."""
    return final.with_name(f"{final.name}.partial")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest into a folder, in the place of the one that may be there.

    Raises:
        OSError: The disk is full. The manifest that was there before is unchanged.
    """
    document = {
        "complete": manifest.complete,
        "metadata": manifest.metadata,
        "files": dict(sorted(manifest.files.items())),
    }
    replace_durably(folder / MANIFEST, json.dumps(document, indent=1, ensure_ascii=False).encode())


def read_manifest(folder: Path, *, unfinished: bool = False) -> Manifest:
    """Read the manifest of a folder.

    Args:
        folder: The folder that holds the manifest.
        unfinished: Whether a folder that is still being written is accepted.

    Raises:
        InputError: The folder is unfinished, or its manifest cannot be read.
    """
    path = folder / MANIFEST
    try:
        manifest = _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not finished, its manifest {MANIFEST} is missing; make it again"
        ) from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); make it again") from None
    if not manifest.complete and not unfinished:
        raise InputError(
            f"{folder}: not finished, its manifest {MANIFEST} is not complete; make it again"
        )
    return manifest


def folder_digest(folder: Path) -> str:
    """Return one sha256 for all files that a finished folder's manifest lists.

    Raises:
        InputError: The folder is unfinished, or its manifest cannot be read.
    """
    files = json.dumps(read_manifest(folder).files, sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def is_complete(folder: Path) -> bool:
    """Return whether a folder has a complete manifest; its files are not looked at."""
    try:
        read_manifest(folder)
    except InputError:
        return False
    return True


def seal(partial: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Write the manifest of a folder, flush everything to disk, and give it its real name.

    Args:
        partial: The folder as written. Nothing is added to it afterwards.
        final: Its real name, which must not exist yet.
        metadata: What a reader may want to know without opening the files.
    """
    files = {
        path.relative_to(partial).as_posix(): describe_file(path)
        for path in partial.rglob("*")
        if path.is_file() and path != partial / MANIFEST
    }
    for name in files:
        flush(partial / name)
    _finish(partial, final, Manifest(metadata, files))


def copy_sealed(source: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Copy a folder so that the copy is either whole and sealed or not there."""
    partial = partial_path(final)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial)
    seal(partial, final, metadata)


def link_sealed(source: Path, final: Path, metadata: dict[str, Any]) -> None:
    """Give the files of a finished folder a second home, without writing their bytes again.

    Each file is a hard link, or a copy where the file system has none (across two file systems).

    Args:
        source: A folder with a complete manifest, whose hashes are taken over. It may be removed
            afterwards.
        final: The new folder, which must not exist yet.
        metadata: What the new folder's manifest says.

    Raises:
        InputError: The source is not finished, or a file that it lists is missing.
    """
    files = read_manifest(source).files
    partial = partial_path(final)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in files:
        _link_or_copy(_existing_file(source, name), partial / name)
    _finish(partial, final, Manifest(metadata, files))


def check_file(folder: Path, name: str, expected: FileEntry) -> Path:
    """Compare one file with its entry in the manifest.

    Args:
        folder: The folder that holds the file.
        name: The file's path inside the folder.
        expected: Its entry.

    Returns:
        The file's path.

    Raises:
        InputError: The file is missing, shorter or longer, or its bytes differ.
    """
    path = _existing_file(folder, name)
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise InputError(f"{path}: {size} bytes instead of {expected['bytes']}; make it again")
    if file_sha256(path) != expected["sha256"]:
        raise InputError(f"{path}: its contents differ from {MANIFEST}; make it again")
    return path


def check_folder(folder: Path) -> dict[str, Any]:
    """Compare every file of a finished folder with its manifest, and return the metadata.

    Raises:
        InputError: The folder is unfinished, or one of its files is missing or differs.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        check_file(folder, name, expected)
    return manifest.metadata


def describe_file(path: Path) -> FileEntry:
    """Return a file's entry in a manifest: its size in bytes and its sha256."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _finish(partial: Path, final: Path, manifest: Manifest) -> None:
    """Add the manifest to a written folder and rename the folder."""
    write_manifest(partial, manifest)
    for folder in _folders(partial, manifest.files):
        flush(folder)
    os.replace(partial, final)
    flush(final.parent)


def _folders(folder: Path, names: Iterable[str]) -> set[Path]:
    return {folder, *((folder / name).parent for name in names)}


def _existing_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path}: missing, though {MANIFEST} lists it; make it again")
    return path


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
        flush(target)


def _parse(document: Any) -> Manifest:
    """Turn a manifest's JSON into a `Manifest`; whatever is not one raises."""
    files: dict[str, FileEntry] = {
        str(name): {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
        for name, entry in dict(document["files"]).items()
    }
    complete = document["complete"] is True
    if complete and not files:
        raise ValueError("it lists no files")
    for name in files:
        # Whoever has changed a manifest must not make a reader look, or link, outside the folder.
        if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise ValueError(f"{name!r} is no file inside the folder")
    return Manifest(dict(document["metadata"]), files, complete)
