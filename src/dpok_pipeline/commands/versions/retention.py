"""`kedro retention`: lists old versions with their sizes, and removes them."""

from __future__ import annotations

import click

from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.commands.options import OneLineCommand
from dpok_pipeline.commands.run import check_choices


@click.command(name="retention", cls=OneLineCommand)
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
    from dpok_pipeline.runs.retention import (
        describe_plan,
        end_runs,
        make_plan,
        refuse_while_running,
    )
    from dpok_pipeline.runs.retention import remove as remove_entries

    with one_line_errors():
        check_choices({"env": env})
        plan = make_plan(env, keep, work)
        for line in describe_plan(plan):
            click.echo(line)
        listed = {entry.path for entry in plan.removable}
        if remove and listed:
            refuse_while_running(plan.data)
            if not yes:
                if not click.confirm(f"Remove these {len(listed)} for good?"):
                    return
                refuse_while_running(plan.data)
            # Since they were listed, something may have been run, removed or tagged. What was
            # unfinished may be finished by now.
            plan = make_plan(env, keep, work)
            entries = [entry for entry in plan.removable if entry.path in listed]
            refuse_while_running(plan.data)
            end_runs(entries, plan.tracking)
            remove_entries(entries, plan.data)
            click.echo(f"Removed {len(entries)}.")
