"""Real processes that import nothing: forks of a server that has imported everything once.

A Python that imports torch, diffusers and MLflow takes seconds; a fork of one that has takes none.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

#: What processes import, one server for all of them; none of these opens a database or a device.
PRELOADED = (
    "tests.hooks.killed_command",
    "tests.team.member",
    "dpok_pipeline.cli",
    "mlflow.diffusers",
    "sqlalchemy.dialects.sqlite",
    "pyarrow.parquet",
    "plotly.graph_objects",
)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(list(PRELOADED))


def start(said: Path, target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that writes all that it says into a file."""
    process = PROCESSES.Process(target=_speak_into, args=(said, target, arguments))
    process.start()
    return process


def start_kedro(said: Path, project: Path, *arguments: str, **environment: str) -> BaseProcess:
    """Start `kedro …` in a project, with more variables, as `start` starts a function."""
    return start(said, _kedro, project, arguments, environment)


def _speak_into(said: Path, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with said.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    target(*arguments)


def _kedro(project: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Do what `python -m kedro …` does."""
    os.environ.update(environment)
    os.chdir(project)
    sys.argv = ["kedro", *arguments]
    runpy.run_module("kedro", run_name="__main__", alter_sys=True)
