"""A tiny project, and commands run in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from tests.project import make_project

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tiny random world, in which nothing has run."""
    return make_project(tmp_path_factory.mktemp("project") / "dpok-pipeline")


@pytest.fixture(scope="session")
def kedro_run(project: Path) -> Iterator[Command]:
    """`kedro run` in this process, which has imported everything already."""
    before = Path.cwd()
    os.chdir(project)
    metadata = bootstrap_project(project)

    def run(*arguments: str) -> Result:
        from dpok_pipeline.cli import cli

        return CliRunner().invoke(cli, ["run", "--env", "smoke", *arguments], obj=metadata)

    yield run
    os.chdir(before)
