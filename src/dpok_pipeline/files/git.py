"""The state of the code that a run was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Commit(NamedTuple):
    """The commit that a folder has checked out.

    Attributes:
        sha: Full hexadecimal name of the commit.
        dirty: Whether any file differs from the commit or is not part of it.
    """

    sha: str
    dirty: bool


def describe_commit(folder: Path) -> Commit | None:
    """Look up the commit of a folder; None if it is no git checkout, or git is not installed."""
    sha = _run_git(folder, "rev-parse", "HEAD")
    if sha is None:
        return None
    return Commit(sha, dirty=bool(_run_git(folder, "status", "--porcelain")))


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
