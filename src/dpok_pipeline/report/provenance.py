"""What made a report: commit, versions, machine, parameters."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.files.git import describe_commit

PACKAGES = ("dpok-pipeline", "torch", "diffusers", "transformers", "peft", "kedro", "mlflow")

Sections = dict[str, dict[str, str]]


def collect_provenance(
    parameters: Mapping[str, Any], run: Mapping[str, Any] | None = None
) -> Sections:
    """Gather what a reader needs to make the report again.

    Args:
        parameters: Nested parameters of the run; written flat, `a.b.c`.
        run: Anything else to say about it, such as seeds, command and dataset versions.

    Returns:
        Titled sections of names and values, ready for the report.
    """
    now = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return {
        "Run": {"made": now, "commit": commit_in_words(), **_texts(run or {})},
        "Versions": {"python": platform.python_version(), **package_versions()},
        "Machine": machine(),
        "Parameters": _texts(parameters),
    }


def commit_in_words() -> str:
    """Name the commit of the working folder, and say whether it had changes."""
    commit = describe_commit(Path.cwd())
    if commit is None:
        return "not in a git checkout"
    return f"{commit.sha[:12]}, with uncommitted changes" if commit.dirty else commit.sha[:12]


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers; absent ones are left out."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, str]:
    """Describe processor, cores and GPU."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _texts(nested: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in flatten(nested).items()}
