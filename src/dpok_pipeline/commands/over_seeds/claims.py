"""`kedro claims`: the whole comparison over several training seeds.

One training run says nothing about the luck of training. Here everything, including the stored
samples, is made again for each seed, so that the intervals cover the luck of the images and that of
the training. The paper's claims are judged by these intervals.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import Version

from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.commands.options import (
    OneLineCommand,
    check_address,
    check_workers,
    workers_options,
)
from dpok_pipeline.commands.over_seeds.seeds import run_side_by_side, share_out
from dpok_pipeline.commands.run import check_choices
from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.tracking import read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.versions import refuse_later_versions
from dpok_pipeline.pipelines.graph import OVER_SEEDS, report_parts
from dpok_pipeline.runs.finished import find_finished
from dpok_pipeline.runs.identity import describe_whole_run, unchanged_code
from dpok_pipeline.runs.runner import ContinuingRunner
from dpok_pipeline.runs.work import WorkFolders
from dpok_pipeline.workers.runner import TeamContinuingRunner

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from dpok_pipeline.datasets.report_parts import ReportParts
    from dpok_pipeline.lineage.records import Source
    from dpok_pipeline.training.config import Resume

logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """What an experiment contributes to reports, with one training seed, and where that lies."""

    content: ReportParts
    source: Source


@click.command(name="claims", cls=OneLineCommand)
@click.option("--seeds", default="0,1,2", show_default=True, help="Training seeds, by commas.")
@click.option("--env", default=None, help="Environment.")
@click.option(
    "--resume",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="auto: seeds that have finished are not run again; never: every seed is.",
)
@workers_options
def claims(
    seeds: str, env: str | None, resume: Resume, workers: int | None, address: str | None
) -> None:
    """Make the whole comparison once per training seed, and judge the claims."""
    with one_line_errors():
        check_choices({"env": env})
        workers, address = check_workers(workers), check_address(address, workers)
        runner = TeamContinuingRunner(workers, address=address) if workers else None
        compare_over_seeds(_read_seeds(seeds), env, resume, runner)


def _read_seeds(seeds: str) -> list[int]:
    """Read the option --seeds.

    Raises:
        InputError: A seed is not a whole number, or is given twice: its images would count double,
            and the intervals would be too narrow.
    """
    texts = [seed.strip() for seed in seeds.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,18}", text) for text in texts):
        raise InputError(f"--seeds {seeds}: give whole numbers below 10¹⁸, such as 0,1,2")
    numbers = [int(text) for text in texts]
    if len(set(numbers)) != len(numbers):
        raise InputError(f"--seeds {seeds}: give different seeds, such as 0,1,2")
    return numbers


def compare_over_seeds(
    seeds: Sequence[int],
    env: str | None,
    resume: Resume = "auto",
    runner: TeamContinuingRunner | None = None,
) -> None:
    """Run everything once per seed, then compare, judge the claims and write a report.

    Args:
        seeds: Training seeds, all different.
        env: Name of the environment; None is Kedro's default.
        resume: `auto` takes the outputs of finished whole runs that have the same parameters,
            inputs and code, whichever command has made them, and continues an interrupted run;
            `never` runs every seed from its start.
        runner: Runs the nodes; None runs them one after the other in this process.

    Raises:
        InputError: The code has changed since the command began: the seeds are compared with one
            another, and would be those of two codes.
    """
    with KedroSession.create(env=env) as session:
        context = session.load_context()
        refuse_later_versions(OVER_SEEDS, context.catalog)
    if runner is not None:
        missing = [seed for seed in seeds if resume == "never" or not _finished(seed, env)]
        chosen = selection.current()
        trainings = len(chosen.experiments) * len(chosen.methods)
        share = share_out(len(missing), runner.workers, trainings)
        if share.seeds > 1:
            listed = ", ".join(map(str, missing))
            logger.info("Training seeds %s, %d at a time", listed, share.seeds)
            arguments = {seed: _arguments(seed, env, resume) for seed in missing}
            run_side_by_side(arguments, share, runner.address, context.project_path)
            resume = "auto"  # From here on they have finished.
    parts: list[_Part] = []
    for number, seed in enumerate(seeds, start=1):
        finished = _finished(seed, env) if resume == "auto" else []
        done = "; finished already" if finished else ""
        logger.info("Training seed %d (%d of %d)%s", seed, number, len(seeds), done)
        parts += [_with_seed(part, seed) for part in finished or _run(seed, env, resume, runner)]
    unchanged_code()
    with KedroSession.create(env=env) as session:
        _report(parts, session.load_context())


def _finished(seed: int, env: str | None) -> list[_Part]:
    """Read what a finished whole run of a seed contributes to reports; empty if there is none."""
    with KedroSession.create(env=env, runtime_params=_parameters(seed)) as session:
        context = session.load_context()
        identity = describe_whole_run(pipelines["__default__"], context.catalog)
        version = find_finished(WorkFolders.of(context).runs, identity)
        return [] if version is None else _parts(context, version)


def _run(
    seed: int, env: str | None, resume: Resume, runner: ContinuingRunner | None
) -> list[_Part]:
    """Run the five pipelines with one seed, and read what they contribute to reports."""
    parameters = {**_parameters(seed), "resume": resume}
    with KedroSession.create(env=env, runtime_params=parameters) as session:
        outputs = session.run(runner=runner or ContinuingRunner())
        version = outputs["report"].resolve_save_version()
        return _parts(session.load_context(), version)


def _arguments(seed: int, env: str | None, resume: Resume) -> list[str]:
    """Return the options of `kedro run` for one seed."""
    parameters = {**_parameters(seed), "resume": resume}
    given = ",".join(f"{name}={value}" for name, value in parameters.items())
    return ["--params", given, *(["--env", env] if env else [])]


def _parameters(seed: int) -> dict[str, object]:
    return {"training_seed": seed}


def _parts(context: KedroContext, version: str) -> list[_Part]:
    """Read each experiment's parts of one version; empty if one of them has been removed."""
    from dpok_pipeline.lineage.recording import describe_source

    names = [report_parts(experiment) for experiment in selection.current().experiments]
    catalog, project = context.catalog, Path(context.project_path)
    datasets = {name: catalog.get(name, version=Version(version, None)) for name in names}
    if not all(dataset.exists() for dataset in datasets.values()):
        return []
    loaded = [(name, dataset, dataset.load()) for name, dataset in datasets.items()]
    return [
        _Part(part, describe_source(name, dataset, part, project)) for name, dataset, part in loaded
    ]


def _with_seed(part: _Part, seed: int) -> _Part:
    scores = part.content.scores.assign(training_seed=seed)
    return part._replace(content=part.content._replace(scores=scores))


def _report(parts: list[_Part], context: KedroContext) -> None:
    """Save comparison, claims and report, and say what they hold."""
    from dpok_pipeline.evaluation.claims import summarise_claims
    from dpok_pipeline.lineage.recording import Place, describe_command, record_saved
    from dpok_pipeline.pipelines.evaluation.nodes import compare_and_judge
    from dpok_pipeline.pipelines.evaluation.reporting import join_experiments, write_report
    from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
    from dpok_pipeline.pipelines.task import Task
    from dpok_pipeline.report.headline import terminal_summary

    catalog, project = context.catalog, Path(context.project_path)
    config, contents = catalog.load("params:comparison"), [part.content for part in parts]
    comparison, judged = compare_and_judge(
        join_experiments(contents), catalog.load("params:evaluation"), config, MlflowTracker(None)
    )
    report = catalog.get(OVER_SEEDS[-1])
    sources = [part.source for part in parts]
    place = Place(catalog, project, read_tracking(context.config_loader), context.env)
    task = Task(experiment="all", lineage=place.lineage(OVER_SEEDS[-1], sources))
    # The report shows the curves and pictures of the last seed.
    last_seed = contents[-len(selection.current().experiments) :]
    page = write_report(comparison, judged, config, task, *last_seed)
    about = {"run_id": report.resolve_save_version(), "env": context.env}
    details = {"inputs": sources, "command": describe_command(about, project)}
    for name, result in zip(OVER_SEEDS, (comparison, judged, page), strict=True):
        catalog.save(name, result)
        record_saved(catalog, name, project, details)
    summary = terminal_summary(comparison, judged, config.methods, config.question)
    logger.info("\n%s\n", summary)
    for row in summarise_claims(judged).itertuples():
        logger.info("holds on %d of %d: %s", row.holds, row.of, row.statement)
    logger.info("\nreport: %s", Path(report._get_load_path()))
