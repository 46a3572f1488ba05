"""What made a report: commit, versions, machine, parameters; and where each number comes from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from dpok_pipeline.evaluation.names import MethodLabel
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.files.git import describe_run_commit

PACKAGES = ("dpok-pipeline", "torch", "diffusers", "transformers", "peft", "kedro", "mlflow")

Sections = dict[str, dict[str, str]]


class Fact(NamedTuple):
    """One thing that a number was made from.

    Attributes:
        title: What it is.
        text: Its name or version.
        note: What else identifies it, such as a digest.
        link: Address of it, relative to the page where it is a file; empty for none.
    """

    title: str
    text: str
    note: str = ""
    link: str = ""


class Origin(NamedTuple):
    """Where the numbers of one method in one experiment come from.

    Attributes:
        experiment: Name of the experiment.
        method: Name of the method.
        summary: The version of its LoRA, or of the base model's images, in a few words.
        facts: What they were made from, the nearest first.
        command: What to type to see all of it.
    """

    experiment: str
    method: str
    summary: str
    facts: tuple[Fact, ...]
    command: str


class Lineage(NamedTuple):
    """Where the numbers of a report come from.

    Attributes:
        origins: One for each experiment and method.
        pages: Address of the tracking server's pages; empty where a command has to serve them.
        pages_command: The command that serves them; empty where a server does.
        command: What to type to see the lineage of the whole report.
    """

    origins: tuple[Origin, ...]
    pages: str
    pages_command: str
    command: str


def lineage_context(lineage: Lineage | None, methods: Sequence[MethodLabel]) -> dict[str, object]:
    """Say what the page's section on lineage needs: the origins by methods, and their anchors.

    Args:
        lineage: Where the numbers come from; None leaves the section out.
        methods: Methods in the order in which they are shown.
    """
    origins = () if lineage is None else lineage.origins
    groups = [(method, [one for one in origins if one.method == method.name]) for method in methods]
    groups = [(method, of_method) for method, of_method in groups if of_method]
    anchors = {method.label: f"made-{method.name}" for method, _ in groups}
    return {"lineage": lineage, "origins": groups, "anchors": anchors}


def collect_provenance(
    parameters: Mapping[str, Any], run: Mapping[str, Any], env: str | None = None
) -> Sections:
    """Gather what a reader needs to make the report again.

    Args:
        parameters: Nested parameters of the run; written flat, `a.b.c`.
        run: Anything else to say about it, such as seeds, command and dataset versions.
        env: Environment of the run; None is Kedro's default.

    Returns:
        Titled sections of names and values, ready for the report.
    """
    now = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return {
        "Run": {"made": now, "commit": commit_in_words(env), **_texts(run)},
        "Versions": {"python": platform.python_version(), **package_versions()},
        "Machine": machine(),
        "Parameters": _texts(parameters),
    }


def commit_in_words(env: str | None) -> str:
    """Name the commit of the working folder, and say whether files or settings are not in it."""
    commit = describe_run_commit(Path.cwd(), env)
    if commit is None:
        return "not in a git checkout"
    left_out = ", with changes or settings that are not in git" if commit.dirty else ""
    return f"{commit.sha[:12]}{left_out}"


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
