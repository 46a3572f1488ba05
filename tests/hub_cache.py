"""The Hugging Face cache as the hub's library leaves it behind, made without the hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789" * 4
LARGE = (".pt", ".safetensors")


def add_to_cache(cache: Path, repo: str, files: Mapping[str, bytes]) -> Path:
    """Put a model into a cache: large files under their sha256, small ones under a git hash.

    Returns:
        The snapshot's folder, whose files are links.
    """
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for folder in (root / "refs", root / "blobs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        digest = hashlib.sha256(content) if name.endswith(LARGE) else hashlib.sha1(content)
        blob = root / "blobs" / digest.hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    return snapshot
