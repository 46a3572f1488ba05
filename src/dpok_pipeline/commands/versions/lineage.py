"""`kedro lineage`: what a dataset was made from, or what was made of it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.commands.options import OneLineCommand
from dpok_pipeline.commands.run import check_choices
from dpok_pipeline.configuration.validation import advise
from dpok_pipeline.errors import InputError

#: Versions that a message lists.
MOST_LISTED = 5


@click.command(name="lineage", cls=OneLineCommand)
@click.argument("dataset", metavar="NAME[:VERSION]")
@click.option("--env", default=None, help="Environment.")
@click.option("--downstream", is_flag=True, help="Show what was made of it instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def lineage(dataset: str, env: str | None, downstream: bool, as_json: bool) -> None:
    """Show what a version of a dataset was made from, through all commands, to files in git.

    NAME is a dataset of the catalog, such as report or color.dpok.lora; without a version, the
    newest one is taken.
    """
    with one_line_errors():
        check_choices({"env": env})
        lines = describe(dataset, env, downstream=downstream, as_json=as_json)
        click.echo("\n".join(lines))


def describe(dataset: str, env: str | None, *, downstream: bool, as_json: bool) -> list[str]:
    """Return the lines that tell of a dataset.

    Args:
        dataset: `NAME` or `NAME:VERSION`.
        env: Name of the environment; None is Kedro's default.
        downstream: Whether to show what was made of it.
        as_json: Whether the lines are JSON.

    Raises:
        InputError: There is no such dataset, or no such version.
    """
    from kedro.framework.session import KedroSession
    from kedro.io.core import is_parameter

    from dpok_pipeline.configuration.tracking import read_tracking
    from dpok_pipeline.lineage.chain import Archive
    from dpok_pipeline.lineage.document import document
    from dpok_pipeline.lineage.tracked import Store, makers
    from dpok_pipeline.lineage.tree import Tree
    from dpok_pipeline.pipelines.graph import OVER_SEEDS
    from dpok_pipeline.runs.work import WorkFolders

    with KedroSession.create(env=env) as session:
        context = session.load_context()
        nodes = makers()
        read = {name for node in nodes.values() for name in node.inputs}
        known = {name for name in read if not is_parameter(name)} | {*nodes, *OVER_SEEDS}
        store = Store(read_tracking(context.config_loader), nodes)
        project = Path(context.project_path)
        archive = Archive(context.catalog, project, memory=store)
        root = choose(dataset, archive, context.catalog, known, project)
        data = WorkFolders.of(context).data
        chain = archive.downstream(root, data) if downstream else archive.upstream(root)
        if as_json:
            return [json.dumps(document(chain, store, downstream=downstream), indent=1)]
        return list(Tree(chain, store, downstream=downstream).lines())


def choose(dataset: str, archive: Any, catalog: Any, known: Collection[str], project: Path) -> Any:
    """Return the version of a dataset that is asked for.

    Raises:
        InputError: There is no such dataset, or no such version.
    """
    from dpok_pipeline.lineage.recording import describe_source
    from dpok_pipeline.runs.journal import VERSION

    name, _, version = dataset.partition(":")
    if name not in known:
        raise InputError(f"{name}: no such dataset; {advise(name, known)}")
    if not archive.is_versioned(name):
        if version:
            raise InputError(f"{dataset}: {name} has no versions; leave :{version} out")
        entry = catalog.get(name)
        return describe_source(name, entry, entry.load(), project)
    if not version:
        if (source := archive.newest(name)) is None:
            raise InputError(f"{name} has not been made yet, so that it has no lineage")
        return source
    source = archive.version(name, version) if re.fullmatch(VERSION, version) else None
    if source is None:
        listed = archive.versions(name)
        there = ", ".join(listed[:MOST_LISTED]) or "none"
        more = f" and {len(listed) - MOST_LISTED} older" if len(listed) > MOST_LISTED else ""
        raise InputError(f"{dataset}: no such version; there are {there}{more}")
    return source
