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


def describe_commit(folder: Path, *, results: Path | None = None) -> Commit | None:
    """Look up the commit of a folder.

    Args:
        folder: The root of a checkout.
        results: A folder, from there, in which no change counts: that of tracked results, which
            the code makes and is not made of.

    Returns:
        The commit; None if it is no git checkout, or git is not installed.
    """
    sha = _run_git(folder, "rev-parse", "HEAD")
    if sha is None:
        return None
    leave_out = [] if results is None else [f":(exclude){results.as_posix()}"]
    changed = _run_git(folder, "status", "--porcelain", "--", ".", *leave_out)
    return Commit(sha, dirty=bool(changed))


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
