"""The state of the code that a run was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

#: The environment of a user's own settings, which git ignores, and its folder.
LOCAL_ENV = "local"
LOCAL = f"conf/{LOCAL_ENV}"
#: Files in it that no artifact depends on.
NO_SETTINGS = ("credentials*", "expected_seconds*", "logging*", "mlflow*")


class Commit(NamedTuple):
    """The commit that a folder has checked out.

    Attributes:
        sha: Full hexadecimal name of the commit.
        dirty: Whether any file differs from the commit or is not part of it, ignored ones aside.
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


def describe_run_commit(project: Path, env: str | None) -> Commit | None:
    """Look up the commit that a run was made from; settings that git ignores are changes, too.

    Args:
        project: The project's folder.
        env: Environment of the run; None is Kedro's default, which reads `conf/local`.

    Returns:
        The commit; None as of `describe_commit`.
    """
    commit = describe_commit(project)
    if commit is None or env not in (None, LOCAL_ENV):
        return commit
    leave_out = [f":(exclude,glob){LOCAL}/**/{name}" for name in NO_SETTINGS]
    ignored = ("ls-files", "--others", "--ignored", "--exclude-standard")
    files = [f"{LOCAL}/*.{ending}" for ending in ("yml", "yaml", "json")]  # that Kedro reads
    settings = _run_git(project, *ignored, "--", *files, *leave_out)
    return commit._replace(dirty=commit.dirty or bool(settings))


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
