"""What tracking costs: its share of each command's time, as the commands have measured it.

    kedro run --env smoke && python -m benchmarks.tracking --env smoke

Each command adds up its own time in MLflow's calls: two commands, one tracked and one not, differ
by more than tracking costs. All calls of hooks, nodes and worker processes count, importing MLflow
among them, and the thread of system metrics, which no node waits for.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedro.framework.startup import bootstrap_project

from dpok_pipeline.commands.project import config_loader
from dpok_pipeline.configuration.tracking import read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.mlflow_store import connect
from dpok_pipeline.tracking.cost import SECONDS, SHARE

NEWEST = 10


def main() -> None:
    """Print a line for each of the newest commands."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--env", default="base", help="environment in conf")
    arguments = parser.parse_args()
    bootstrap_project(Path.cwd())
    try:
        print(table(newest_runs(arguments.env)))
    except InputError as error:
        raise SystemExit(str(error)) from None


def newest_runs(env: str) -> list[Any]:
    """Find the newest commands of an environment that have measured what tracking cost.

    Raises:
        InputError: There is none.
    """
    config = read_tracking(config_loader(env))
    client = connect(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment_name)
    runs: Sequence[Any] = []
    if experiment is not None:
        ids, condition = [experiment.experiment_id], f"metrics.`{SECONDS}` > 0"
        runs = client.search_runs(ids, condition, max_results=NEWEST)
    if not runs:
        raise InputError(f"no command of {env} has ended yet: `kedro run --env {env}`")
    return list(runs)


def table(runs: Sequence[Any]) -> str:
    """Write how long each command took, how long tracking took, and its share."""
    names = [str(run.info.run_name) for run in runs]
    width = max(len(name) for name in [*names, "command"])
    lines = [f"{'command':<{width}}  {'seconds':>8}  {'tracking':>8}  {'share':>6}"]
    for name, run in zip(names, runs, strict=True):
        seconds, share = (run.data.metrics[key] for key in (SECONDS, SHARE))
        lines.append(f"{name:<{width}}  {seconds / share:8.1f}  {seconds:8.1f}  {share:6.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
