"""`kedro run`, with bad input answered in one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.runner import AbstractRunner, ParallelRunner, ThreadRunner
from kedro.utils import load_obj

from dpok_pipeline.commands.errors import NO_NODES, one_line_errors
from dpok_pipeline.commands.options import (
    ADDRESS,
    WORKERS,
    OneLineCommand,
    check_address,
    check_workers,
    explained,
)
from dpok_pipeline.commands.project import KEDRO_ENV, conf_source, config_loader, environment
from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.selection import Selection
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.graph import COMPARISON, method_tag

RUNNER = "dpok_pipeline.runs.runner.ContinuingRunner"
WORKERS_RUNNER = "dpok_pipeline.workers.runner.TeamContinuingRunner"
PIPELINES_FOLDER = Path(__file__).parents[1] / "pipelines"


@click.command(
    name="run",
    cls=OneLineCommand,
    help="Run pipelines: all five, or those chosen by the options.",
    params=[
        *map(explained, kedro_run.params),
        click.Option(
            ["--methods"],
            type=str,
            default="",
            help="Compute only these methods, by commas, and compare with the newest finished "
            "versions of all others.",
        ),
        click.Option(["--workers"], **WORKERS),
        click.Option(["--address"], **ADDRESS),
        click.Option(["--traceback"], is_flag=True, help="Show where an error came from."),
    ],
)
def run(
    traceback: bool, methods: str, workers: int | None, address: str | None, **options: Any
) -> Any:
    """Run the pipelines; end with status 1 and one line where the input is at fault."""
    with one_line_errors(traceback):
        workers, address = check_workers(workers), check_address(address, workers)
        if workers is not None:
            options |= _choose_workers(workers, address, options)
        check_choices(options)
        names = _read_methods(methods, options)
        if names:
            options["tags"] = (*map(method_tag, names), COMPARISON)
        options["runner"] = options["runner"] or RUNNER
        try:
            return kedro_run.callback(**options)
        except ValueError as error:
            if NO_NODES in str(error):
                raise InputError(_explain_no_nodes(options, names)) from error
            raise


def check_choices(options: Mapping[str, Any]) -> None:
    """Answer a name that does not exist with those that do.

    Args:
        options: Options of the command by their names; `env` must be among them.

    Raises:
        InputError: There is no such pipeline, environment, experiment, namespace or runner.
    """
    conf = Path(options.get("conf_source") or conf_source())
    if not conf.is_dir():
        raise InputError(f"--conf-source {conf}: not a folder; give one like the project's conf")
    environments = sorted(path.name for path in conf.iterdir() if path.is_dir())
    env = options["env"]
    _check("--env" if env else KEDRO_ENV, "environment", [environment(env)], environments)
    pipelines = sorted(path.parent.name for path in PIPELINES_FOLDER.glob("*/__init__.py"))
    _check("--pipelines", "pipeline", _pipelines(options), ["__default__", *pipelines])
    if options.get("namespaces"):
        compared = _selection(options)
        known = list(compared.experiments)
        for experiment in compared.experiments:
            known += [f"{experiment}.{method.name}" for method in compared.methods]
            known.append(f"{experiment}.base")
        outer = [name.partition(".")[0] for name in options["namespaces"]]
        _check("--namespaces", "experiment", outer, compared.experiments)
        _check("--namespaces", "namespace", options["namespaces"], known)
    if options.get("runner") or options.get("runner_params"):
        _check_runner(options["runner"] or RUNNER, options["runner_params"])


def _choose_workers(
    workers: int, address: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the runner of `--workers` and `--address` with its parameters.

    Raises:
        InputError: A runner is named as well.
    """
    if options["runner"]:
        raise InputError("--workers and --runner exclude each other; leave one of them out")
    return {
        "runner": WORKERS_RUNNER,
        "runner_params": {
            **(options["runner_params"] or {}),
            "workers": workers,
            "address": address,
        },
    }


def _read_methods(methods: str, options: Mapping[str, Any]) -> list[str]:
    """Read the option --methods; it is empty if the option is not given.

    Raises:
        InputError: The environment lists no such method, a method is named twice, or nodes are
            chosen by their tags already.
    """
    if not methods:
        return []
    if options.get("tags"):
        raise InputError("--methods and --tags exclude each other; leave one of them out")
    names = [name.strip() for name in methods.split(",")]
    known = [method.name for method in _selection(options).methods]
    _check("--methods", "method", names, known)
    if not all(names) or len(set(names)) != len(names):
        raise InputError(f"--methods {methods}: give different names, such as {','.join(known)}")
    return names


def _explain_no_nodes(options: Mapping[str, Any], methods: Collection[str]) -> str:
    """Say in one line why the options leave no node to run.

    Args:
        options: The options of Kedro's `run`.
        methods: Names of the methods that --methods gives; empty for all.
    """
    shown = {
        "--pipelines": _pipelines(options),
        "--methods": methods,
        "--namespaces": options.get("namespaces"),
        "--tags": () if methods else options.get("tags"),
        "--nodes": options.get("node_names"),
        "--from-nodes": options.get("from_nodes"),
        "--to-nodes": options.get("to_nodes"),
        "--from-inputs": options.get("from_inputs"),
        "--to-outputs": options.get("to_outputs"),
    }
    command = " ".join(f"{name} {','.join(values)}" for name, values in shown.items() if values)
    line = f"Pipeline contains no nodes for {command}"
    compared = selection.current()
    for pipeline, trained, ability in (
        ("sft_training", compared.offline, "learns from stored samples"),
        ("rl_training", compared.online, "draws images while it learns"),
    ):
        names = [method.name for method in trained if not methods or method.name in methods]
        if _pipelines(options) == [pipeline] and not names:
            others = ", ".join(methods or [method.name for method in compared.methods])
            return f"{line}: none of the methods ({others}) {ability}"
    return f"{line}: leave one of these options out, or correct it"


def _pipelines(options: Mapping[str, Any]) -> list[str]:
    """Return the names that --pipelines and Kedro's older --pipeline give."""
    return [name for name in (*(options.get("pipelines") or ()), options.get("pipeline")) if name]


def _selection(options: Mapping[str, Any]) -> Selection:
    """Read which experiments and methods the environment compares."""
    loader = config_loader(options["env"], options.get("conf_source"), options.get("params"))
    loader["parameters"]  # The loader notes the selection when it reads the parameters.
    return selection.current()


def _check_runner(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse a runner that cannot be made, or that runs several nodes at the same time."""
    try:
        runner = load_obj(name, "kedro.runner")
    except Exception as error:  # Importing runs whatever stands in the module.
        raise InputError(
            f"--runner {name}: no such runner ({error}); leave the option out"
        ) from None
    if not isinstance(runner, type) or not issubclass(runner, AbstractRunner):
        raise InputError(f"--runner {name}: not a runner of Kedro's; leave the option out")
    if issubclass(runner, ParallelRunner | ThreadRunner):
        raise InputError(
            f"--runner {name}: nodes share the open models, so that only one can run at a time; "
            "leave the option out"
        )
    try:
        runner(**parameters)
    except (TypeError, ValueError) as error:
        raise InputError(f"--runner {name}: {error}; leave --runner-params out") from None


def _check(option: str, kind: str, names: Iterable[str | None], known: Collection[str]) -> None:
    for name in names:
        if name and name not in known:
            raise InputError(f"{option} {name}: no such {kind}; there are {', '.join(known)}")
