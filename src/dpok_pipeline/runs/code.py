"""The hash of this package's sources; a module that a process imports before any large library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dpok_pipeline.files.checksums import file_sha256

PACKAGE = Path(__file__).parents[1]
# Folders of the package that no number depends on.
NOT_HASHED = ("hooks", "commands", "sweeps", "lineage", "cli.py", "__main__.py", "settings.py")


def hash_code() -> str:
    """Hash the sources that numbers depend on, as they are now: all but `NOT_HASHED`."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in NOT_HASHED:
            digest.update(f"{path.relative_to(PACKAGE)}\n{file_sha256(path)}\n".encode())
    return digest.hexdigest()
