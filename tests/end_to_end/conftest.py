"""A tiny project, and commands run in it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol

from dpok_pipeline.commands.faults import FAULT
from dpok_pipeline.commands.quiet import silence_notices
from tests.project import make_project


class Outcome(NamedTuple):
    """How a command ended, and what it said."""

    exit_code: int
    output: str
    stderr: str
    log: str
    exception: BaseException | None


Command = Callable[..., Outcome]

silence_notices()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a tiny random world, in which nothing has run; the current folder."""
    folder = _project_below(tmp_path_factory.getbasetemp())
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


# Cached: a module elsewhere that imports these fixtures has fixtures of its own.
@cache
def _project_below(folder: Path) -> Path:
    return make_project(folder / "project" / "dpok-pipeline")


@pytest.fixture(scope="session")
def kedro_run(project: Path) -> Command:
    """`kedro run` in this process, which has imported everything already."""
    return _command_in(project)


@cache
def _command_in(project: Path) -> Command:
    metadata = bootstrap_project(project)

    def run(*arguments: str, env: str = "smoke") -> Outcome:
        from dpok_pipeline.cli import cli

        # The handlers of conf/logging.yml hold the streams of when Kedro was imported.
        log = StringIO()
        handler = logging.StreamHandler(log)
        logging.getLogger("dpok_pipeline").addHandler(handler)
        result = CliRunner().invoke(cli, ["run", "--env", env, *arguments], obj=metadata)
        logging.getLogger("dpok_pipeline").removeHandler(handler)
        return Outcome(
            result.exit_code, result.output, result.stderr, log.getvalue(), result.exception
        )

    return run


@pytest.fixture(scope="session")
def environment(project: Path) -> Callable[..., str]:
    """Makes an environment like smoke, with some catalog entries replaced."""

    def make(name: str, **catalog: str) -> str:
        folder = project / "conf" / name
        shutil.copytree(project / "conf" / "smoke", folder)
        (folder / "globals.yml").write_text(f"data: data/{name}\n")
        entries = "\n".join(f"{key}: {value}" for key, value in catalog.items())
        (folder / "catalog.yml").write_text(entries or "{}")
        return name

    return make


@pytest.fixture(scope="session")
def finished(kedro_run: Command) -> Outcome:
    """What the whole run, all five pipelines in env smoke, said.

    It is made once in a process: tests that look at it belong to xdist's group `whole run`.
    """
    return _whole_run(kedro_run)


@cache
def _whole_run(kedro_run: Command) -> Outcome:
    result = kedro_run()
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="session")
def catalog(finished: Outcome, project: Path) -> CatalogProtocol:
    """The catalog after the whole run."""
    with KedroSession.create(project, env="smoke") as session:
        return session.load_context().catalog


def error_of(result: Outcome) -> str:
    """The one line that a command with bad input ends with."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert FAULT not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == lines[0]
    return lines[0]


def versions(project: Path, env: str) -> list[Path]:
    """Everything that an environment's catalog holds."""
    return sorted(path for path in (project / "data" / env).rglob("*") if path.is_file())
