"""`kedro run`, with bad input answered in one line instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

from dpok_pipeline.errors import InputError
from dpok_pipeline.failures import explain
from dpok_pipeline.hooks import TRACKING
from dpok_pipeline.pipelines.experiments import configured_experiments

INTERRUPTED = 130  # as shells count: 128 and the number of SIGINT
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
    with one_line_errors(traceback):
        _check_choices(options)
        return kedro_run.callback(**options)


@cli.command(name="claims")
@click.option("--seeds", default="0,1,2", show_default=True, help="Training seeds, by commas.")
@click.option("--env", default=None, help="Environment.")
def claims(seeds: str, env: str | None) -> None:
    """Make the whole comparison once per training seed, and judge the paper's claims."""
    from dpok_pipeline.seeds import compare_over_seeds

    with one_line_errors():
        if not all(seed.strip().isdigit() for seed in seeds.split(",")):
            raise InputError(f"--seeds {seeds}: give whole numbers, such as 0,1,2")
        compare_over_seeds([int(seed) for seed in seeds.split(",")], env)


@cli.command(name="paper")
@click.option("--env", default="paper", show_default=True, help="Environment that was run.")
@click.option("--preset", default="official_code", show_default=True, help="Preset of that run.")
def paper(env: str, preset: str) -> None:
    """Put a run's numbers beside the paper's, in docs/stable_diffusion.md."""
    from dpok_pipeline.paper_page import fill_paper_page

    with one_line_errors():
        click.echo(fill_paper_page(env, preset))


@contextmanager
def one_line_errors(traceback: bool = False) -> Iterator[None]:
    """End with status 1 and one line where the input is at fault.

    Args:
        traceback: Show where the error came from instead.
    """
    try:
        yield
    except KeyboardInterrupt:
        TRACKING.interrupted()
        click.secho("\nInterrupted. The same command goes on from the last checkpoint.", err=True)
        sys.exit(INTERRUPTED)
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
    _check("--pipelines", "pipeline", chosen_pipelines, ["__default__", *pipelines])
    _check("--env", "environment", [options.get("env")], environments)
    if options.get("namespaces"):
        loader = settings.CONFIG_LOADER_CLASS(
            conf_source=str(conf_source),
            env=options.get("env"),
            runtime_params=options.get("params"),
            **settings.CONFIG_LOADER_ARGS,
        )
        known = configured_experiments(loader)
        _check("--namespaces", "experiment", options["namespaces"], known)


def _conf_source() -> Path:
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    return Path(root) / str(settings.CONF_SOURCE)


def _check(option: str, kind: str, chosen: Any, known: Any) -> None:
    for name in filter(None, chosen or []):
        if name not in known:
            raise InputError(f"{option} {name}: no such {kind}; there are {', '.join(known)}")
