"""Find model files by a local path or by a Hugging Face hub id, and fetch them at most once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dpok_pipeline.errors import InputError


def is_hub_id(name: str) -> bool:
    """Return whether `name` can be `owner/model`; a path whose first folder exists here is not."""
    owner, _, model = name.partition("/")
    has_two_parts = bool(model) and "/" not in model and not name.startswith((".", "~", "/"))
    return has_two_parts and not Path(owner).is_dir()


def find_files(
    name: str, required: Sequence[str], optional: Sequence[str] = (), revision: str | None = None
) -> Path:
    """Return the local path of a model; a hub id is looked up in the cache, else downloaded.

    A path that exists is returned as it is, and the hub is not asked.

    Args:
        name: A folder, a file, or a hub id `owner/model`.
        required: Names of the files that the hub's model must have.
        optional: Names or patterns of files to fetch as well if the model has them.
        revision: Commit, branch or tag on the hub.

    Raises:
        InputError: There is no such path, or the hub's files are neither in the cache nor can be
            downloaded. The message names the model, the command that fetches it, and the way to
            do without the hub.
    """
    if Path(name).exists():
        return Path(name)
    if not is_hub_id(name):
        raise InputError(f"{name}: no such folder or file; correct the path")
    from huggingface_hub import snapshot_download

    try:
        patterns = [*required, *optional]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        missing = [file for file in required if not (folder / file).is_file()]
        reason = f"without {missing[0]}" if missing else ""
    except Exception as error:  # offline, gated, unknown: the hub has a dozen classes for it
        reason = f"{type(error).__name__}"
    if reason:
        raise InputError(_remedies(name, required, optional, revision, reason)) from None
    return folder


def hub_sha256(file: Path) -> str | None:
    """Return the sha256 that the hub gave for a large file in its cache; None for any other file.

    The cache keeps such a file under its hash and links to it. What was downloaded can therefore
    be checked against what was published.
    """
    name = file.resolve().name
    return name if file.is_symlink() and re.fullmatch("[0-9a-f]{64}", name) else None


def _remedies(
    name: str, required: Sequence[str], optional: Sequence[str], revision: str | None, reason: str
) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "on", "yes")
    files = [*required, *optional]
    # A file that is given by its name must exist; with --include it may be absent.
    selection = [f"--include {file}" for file in files] if optional else files
    command = " ".join(["hf download", name, *selection])
    command += f" --revision {revision}" if revision else ""
    unset = "unset HF_HUB_OFFLINE and " if offline else ""
    return (
        f"{name}: no such folder here, and not in the Hugging Face cache ({reason}); either give a "
        f"local folder with its files, or allow the download once: {unset}run `{command}`"
    )
