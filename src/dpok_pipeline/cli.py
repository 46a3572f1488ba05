"""`kedro run`, with bad input answered in one line instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import settings
from kedro.utils import find_kedro_project, load_obj

from dpok_pipeline.commands.failures import explain
from dpok_pipeline.configuration.experiments import configured_experiments
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks import JOURNAL, TRACKING
from dpok_pipeline.training.signals import Stopped

if TYPE_CHECKING:
    from dpok_pipeline.training.config import Resume

SIGNALLED = 128  # shells add the signal's number
RUNNER = "dpok_pipeline.runs.runner.ContinuingRunner"
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
        options["runner"] = options["runner"] or RUNNER
        return kedro_run.callback(**options)


@cli.command(name="claims")
@click.option("--seeds", default="0,1,2", show_default=True, help="Training seeds, by commas.")
@click.option("--env", default=None, help="Environment.")
@click.option(
    "--resume",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="auto: seeds that have finished are not run again; never: every seed is.",
)
def claims(seeds: str, env: str | None, resume: Resume) -> None:
    """Make the whole comparison once per training seed, and judge the paper's claims."""
    from dpok_pipeline.commands.seeds import compare_over_seeds

    with one_line_errors():
        if not all(seed.strip().isdigit() for seed in seeds.split(",")):
            raise InputError(f"--seeds {seeds}: give whole numbers, such as 0,1,2")
        _check_choices({"env": env})
        compare_over_seeds([int(seed) for seed in seeds.split(",")], env, resume)


@cli.command(name="retention")
@click.option("--env", default=None, help="Environment.")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Newest finished versions of each dataset that stay in any case.",
)
@click.option("--work", is_flag=True, help="Give up interrupted runs, too: their checkpoints.")
@click.option("--remove", is_flag=True, help="Remove what is listed as such.")
@click.option("--yes", is_flag=True, help="Do not ask before removing.")
def retention(env: str | None, keep: int, work: bool, remove: bool, yes: bool) -> None:
    """List old versions and checkpoints with their sizes; remove them with --remove.

    What MLflow names stays: inputs and outputs of runs with the tag keep=true, and of runs whose
    model has an alias in the registry.
    """
    from dpok_pipeline.runs import retention as old

    with one_line_errors():
        _check_choices({"env": env})
        plan = old.make_plan(env, keep, work)
        for line in old.describe_plan(plan):
            click.echo(line)
        going = [entry for entry in plan.entries if not entry.kept]
        if remove and going:
            old.refuse_while_running(plan.data)
            if not yes:
                if not click.confirm(f"Remove these {len(going)} for good?"):
                    return
                # While the question stood, something may have been run, removed or tagged.
                asked = {entry.path for entry in going}
                plan = old.make_plan(env, keep, work)
                going = [entry for entry in plan.entries if not entry.kept and entry.path in asked]
                old.refuse_while_running(plan.data)
            old.remove(going, plan.data)
            click.echo(f"Removed {len(going)}.")


@cli.command(name="paper")
@click.option("--env", default="paper", show_default=True, help="Environment that was run.")
@click.option("--preset", default="official_code", show_default=True, help="Preset of that run.")
def paper(env: str, preset: str) -> None:
    """Put a run's numbers beside the paper's, in docs/stable_diffusion.md."""
    from benchmarks.paper_page import fill_paper_page

    with one_line_errors():
        click.echo(fill_paper_page(env, preset))


@contextmanager
def one_line_errors(traceback: bool = False) -> Iterator[None]:
    """End with status 1 and one line where the input is at fault.

    Args:
        traceback: Show where the error came from instead.
    """
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        TRACKING.interrupted()
        JOURNAL.interrupted()
        click.secho("\nInterrupted. The same command goes on from the last checkpoint.", err=True)
        sys.exit(SIGNALLED + getattr(interrupt, "signal_number", signal.SIGINT))
    except Exception as error:
        message = explain(error)
        if message is None or traceback or os.environ.get("DPOK_TRACEBACK"):
            raise
        click.secho(f"Error: {message}", fg="red", err=True)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Treat SIGTERM as Ctrl-C; while training runs, it finishes its iteration first."""
    raise Stopped(number)


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
    if options.get("runner"):
        _check_runner(options["runner"])


def _check_runner(name: str) -> None:
    """Refuse a runner that cannot be imported."""
    try:
        load_obj(name, "kedro.runner")
    except (ImportError, AttributeError):
        raise InputError(f"--runner {name}: no such runner; leave the option out") from None


def _conf_source() -> Path:
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    return Path(root) / str(settings.CONF_SOURCE)


def _check(option: str, kind: str, chosen: Any, known: Any) -> None:
    for name in filter(None, chosen or []):
        if name not in known:
            raise InputError(f"{option} {name}: no such {kind}; there are {', '.join(known)}")
