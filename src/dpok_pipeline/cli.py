"""The group of the project's commands, where Kedro looks for it."""

from __future__ import annotations

import click

from dpok_pipeline.commands.mlflow import mlflow
from dpok_pipeline.commands.over_seeds.claims import claims
from dpok_pipeline.commands.run import run
from dpok_pipeline.commands.study import study
from dpok_pipeline.commands.sweep import sweep
from dpok_pipeline.commands.versions.lineage import lineage
from dpok_pipeline.commands.versions.retention import retention


@click.group(name="dpok-pipeline")
def cli() -> None:
    """Commands of this project."""


for command in (run, claims, sweep, retention, mlflow, study, lineage):
    cli.add_command(command)
