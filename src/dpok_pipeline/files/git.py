"""Which state of the code a run was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def describe_commit(folder: Path) -> dict[str, str]:
    """Give the commit and whether files differ from it; nothing outside a git checkout."""
    sha = _git(folder, "rev-parse", "HEAD")
    if sha is None:
        return {}
    return {"git.sha": sha, "git.dirty": str(bool(_git(folder, "status", "--porcelain"))).lower()}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
