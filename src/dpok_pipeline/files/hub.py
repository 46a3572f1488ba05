"""Model files by a local path or a Hugging Face hub id: found, fetched once, or one clear line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dpok_pipeline.errors import InputError


def is_hub_id(name: str) -> bool:
    """Whether `name` can be `owner/model`; what exists here, or lies in a folder here, is not."""
    owner, _, model = name.partition("/")
    written_so = bool(model) and "/" not in model and not name.startswith((".", "~", "/"))
    return written_so and not Path(owner).is_dir()


def find_files(
    name: str, required: Sequence[str], optional: Sequence[str] = (), revision: str | None = None
) -> Path:
    """The local path of a model; a hub id is looked up in the hub's cache, else downloaded.

    A path that exists is given back as it is, and the hub is not asked.

    Args:
        name: a folder, a file, or a hub id `owner/model`.
        required: names of files that the hub's model must have.
        optional: names or patterns of files to take along if it has them.
        revision: commit, branch or tag on the hub.

    Raises:
        InputError: there is no such path, or the hub's files are neither in its cache nor to be
            had; the message names the model, the command that fetches it, and the way without.
    """
    if Path(name).exists():
        return Path(name)
    if not is_hub_id(name):
        raise InputError(f"{name}: no such folder or file; correct the path")
    from huggingface_hub import snapshot_download

    try:
        wanted = [*required, *optional]
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        missing = [file for file in required if not (folder / file).is_file()]
        reason = f"without {missing[0]}" if missing else ""
    except Exception as error:  # offline, gated, unknown: the hub has a dozen classes for it
        reason = f"{type(error).__name__}"
    if reason:
        raise InputError(_remedies(name, required, optional, revision, reason)) from None
    return folder


def hub_sha256(file: Path) -> str | None:
    """The sha256 that the hub gave for a large file in its cache; None for any other file.

    The cache keeps such a file under its hash and links to it, so that what was downloaded can be
    checked against what was published.
    """
    name = file.resolve().name
    return name if file.is_symlink() and re.fullmatch("[0-9a-f]{64}", name) else None


def _remedies(
    name: str, required: Sequence[str], optional: Sequence[str], revision: str | None, reason: str
) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "on", "yes")
    files = [*required, *optional]
    # By name a file must be there; by --include it may be.
    chosen = [f"--include {file}" for file in files] if optional else files
    command = " ".join(["hf download", name, *chosen])
    command += f" --revision {revision}" if revision else ""
    unset = "unset HF_HUB_OFFLINE and " if offline else ""
    return (
        f"{name}: no such folder here, and not in the Hugging Face cache ({reason}); either give a "
        f"local folder with its files, or allow the download once: {unset}run `{command}`"
    )
