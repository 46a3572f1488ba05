"""The command that makes a version again: its node alone, with the inputs that it had."""

from __future__ import annotations

import shlex

from dpok_pipeline.lineage.chain import REGISTERED
from dpok_pipeline.lineage.records import Record, Source
from dpok_pipeline.runs.params import write_value


def command_again(record: Record) -> str:
    """Return the command that makes a version again from the same inputs.

    What no node made, the same command makes again.

    Args:
        record: The version's record; it must be the one beside it, which has the parameters.

    Returns:
        The command; behind it, as the shell's comment, the parameters that it cannot give.
    """
    command = record.command
    if not record.node:
        return command.text
    words = ["kedro", "run", "--nodes", record.node]
    if command.env not in (None, "local"):
        words += ["--env", str(command.env)]
    values = {name: write_value(value) for name, value in command.parameters.items()}
    if given := [f"{name}={value}" for name, value in values.items() if "," not in value]:
        words += ["--params", ",".join(given)]
    versions = [f"{one.name}:{one.version}" for one in record.inputs if _in_catalog(one)]
    if versions:
        words += ["--load-versions", ",".join(versions)]
    others = [f"{name}: {value}" for name, value in values.items() if "," in value]
    folder = f"conf/{command.env or 'local'}"
    remark = f"  # {'; '.join(others)}: set this in {folder}, --params takes no comma"
    return f"{shlex.join(words)}{remark if others else ''}"


def _in_catalog(source: Source) -> bool:
    """Say whether a version can be asked for; one of MLflow's registry, a catalog entry names."""
    return source.version is not None and not source.version.startswith(REGISTERED)


def command_of(name: str, version: str, env: str | None) -> str:
    """Return the `kedro lineage` that tells of a version."""
    words = ["kedro", "lineage", f"{name}:{version}"]
    return shlex.join(words if env in (None, "local") else [*words, "--env", str(env)])
