"""What made a report: commit, versions, machine, parameters."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

PACKAGES = ("dpok-pipeline", "torch", "diffusers", "transformers", "peft", "kedro", "mlflow")

Sections = dict[str, dict[str, str]]


def collect_provenance(
    parameters: Mapping[str, Any], run: Mapping[str, Any] | None = None
) -> Sections:
    """Gather what a reader needs to make the report again.

    Args:
        parameters: nested parameters of the run; written flat, `a.b.c`.
        run: anything else to say about it, such as seeds, command and dataset versions.

    Returns:
        Titled sections of names and values, ready for the report.
    """
    now = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return {
        "Run": {"made": now, "commit": git_commit(), **_texts(run or {})},
        "Versions": {"python": platform.python_version(), **package_versions()},
        "Machine": machine(),
        "Parameters": _texts(parameters),
    }


def git_commit() -> str:
    """The commit of the working folder, and whether it had changes; a remark without git."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit}, with uncommitted changes" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide the numbers; absent ones are left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, str]:
    """Processor, cores and GPU."""
    import torch

    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
    }
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {**found, "GPU": gpu}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _texts(nested: Mapping[str, Any]) -> dict[str, str]:
    return dict(_flatten(nested))


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in nested.items():
        # A typed parameter group is a mapping, too.
        plain = value.model_dump() if hasattr(value, "model_dump") else value
        if isinstance(plain, Mapping):
            yield from _flatten(plain, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(plain)
