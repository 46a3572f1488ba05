"""`kedro run`, with bad input answered in one line instead of a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from dpok_pipeline.errors import InputError
from dpok_pipeline.failures import explain
from dpok_pipeline.pipelines.experiments import EXPERIMENTS

PIPELINES_FOLDER = Path(__file__).parent / "pipelines"


@click.group(name="dpok-pipeline")
def cli() -> None:
    """Commands of this project."""


@cli.command(
    name="run",
    help="Run pipelines: all five, or those chosen by the options.",
    params=[
        *kedro_run.params,
        click.Option(["--traceback"], is_flag=True, help="Show where an error came from."),
    ],
)
def run(traceback: bool, **options: Any) -> Any:
    """Run the pipeline; end with status 1 and one line where the input is at fault."""
    try:
        _check_choices(options)
        return kedro_run.callback(**options)
    except Exception as error:
        message = explain(error)
        if message is None or traceback or os.environ.get("DPOK_TRACEBACK"):
            raise
        click.secho(f"Error: {message}", fg="red", err=True)
        sys.exit(1)


def _check_choices(options: dict[str, Any]) -> None:
    """Answer a name that does not exist with those that do."""
    pipelines = sorted(path.parent.name for path in PIPELINES_FOLDER.glob("*/__init__.py"))
    conf_source = options.get("conf_source") or _conf_source()
    environments = sorted(path.name for path in Path(conf_source).iterdir() if path.is_dir())
    chosen_pipelines = [*(options.get("pipelines") or []), options.get("pipeline")]
    _check("--namespaces", "experiment", options.get("namespaces"), EXPERIMENTS)
    _check("--pipelines", "pipeline", chosen_pipelines, ["__default__", *pipelines])
    _check("--env", "environment", [options.get("env")], environments)


def _conf_source() -> Path:
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    return Path(root) / str(settings.CONF_SOURCE)


def _check(option: str, kind: str, chosen: Any, known: Any) -> None:
    for name in filter(None, chosen or []):
        if name not in known:
            raise InputError(f"{option} {name}: no such {kind}; there are {', '.join(known)}")
