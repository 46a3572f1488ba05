"""Opens the MLflow runs of a command and of its nodes, and logs their parameters."""

from __future__ import annotations

import getpass
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dpok_pipeline.configuration.tracking import FILES, TrackingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.files.git import describe_run_commit
from dpok_pipeline.pipelines.mlflow_store import JOURNAL, NOTE, PARENT, client_of
from dpok_pipeline.pipelines.task import TrackerAddress
from dpok_pipeline.tracking.headline import run_note
from dpok_pipeline.tracking.run_names import environment_of, seed_of

# Limits that hold in any of MLflow's stores: characters of a parameter's value and of a tag's, and
# parameters in one write.
PARAMETER_LENGTH, TAG_LENGTH, BATCH = 500, 5000, 100
# Options of the command that get a tag of their own.
OPTIONS = ("env", "run_id", "kedro_version")


def open_run(
    config: TrackingConfig,
    run_params: Mapping[str, Any],
    name: str,
    journal: str | None = None,
    interrupted: str | None = None,
) -> TrackerAddress:
    """Open the run of a command, and note in its tags how the command was started.

    Args:
        config: Store and MLflow experiment.
        run_params: Description of the run that Kedro passes to its hooks.
        name: Name of a new run, unless the configuration gives one.
        journal: Key of the command's journal, by which a later command finds the run; None if it
            has no journal.
        interrupted: Id of the run of an interrupted command, which is opened again; None opens a
            new run.
    """
    client = client_of(config.tracking_uri)
    command = shlex.join(["kedro", *sys.argv[1:]])[:TAG_LENGTH]
    tags = {key: str(run_params[key]) for key in OPTIONS if run_params.get(key)}
    tags |= {"command": command, "mlflow.source.name": command, "mlflow.source.type": "LOCAL"}
    tags |= {"mlflow.user": _user(), **about(run_params)}
    project, env = Path(run_params["project_path"]), run_params.get("env")
    if (commit := describe_run_commit(project, env)) is not None:
        tags |= {"git.sha": commit.sha, "git.dirty": str(commit.dirty).lower()}
        tags |= {"mlflow.source.git.commit": commit.sha}
    tags[NOTE] = run_note(command, tags)
    if journal is not None:
        tags[JOURNAL] = journal
    if interrupted is None:
        experiment = experiment_id(client, config)
        # With its tags in the same write: a run without its journal's key would not be found again.
        info = client.create_run(experiment, run_name=config.run_name or name, tags=tags).info
    else:
        client.update_run(interrupted, status="RUNNING")
        set_tags(client, interrupted, tags)
        info = client.get_run(interrupted).info
    return TrackerAddress(
        uri=config.tracking_uri,
        run_id=info.run_id,
        name=info.run_name,
        continued=interrupted is not None,
    )


def about(run_params: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that a command's run shares with its child runs and its LoRAs."""
    return {"environment": environment_of(run_params), "seed": seed_of(run_params)}


def set_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags of a run in one write."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def experiment_id(client: Any, config: TrackingConfig) -> str:
    """Return the id of the MLflow experiment, which the first run creates.

    Raises:
        InputError: The experiment was deleted in MLflow, where its name stays taken.
    """
    from mlflow.exceptions import MlflowException

    name = config.experiment_name
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, config.artifact_location))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)  # Another command was quicker.
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"{FILES}: experiment_name {name}: deleted in MLflow; restore it with `mlflow "
            f"experiments restore -x {experiment.experiment_id}`, or give another name"
        )
    return str(experiment.experiment_id)


def open_child(
    parent: TrackerAddress, experiment: str, method: str, others: Mapping[str, str]
) -> TrackerAddress:
    """Open a child run; in a continued run, open the interrupted command's child run again.

    Args:
        parent: The command's run.
        experiment: Experiment that the run is about.
        method: Method that it is about, or `evaluation`.
        others: Further tags of a new run.
    """
    client = client_of(parent.uri)
    tags = {PARENT: parent.run_id, "experiment": experiment, "method": method}
    mlflow_experiment = client.get_run(parent.run_id).info.experiment_id
    runs = []
    if parent.continued:
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = client.search_runs([mlflow_experiment], condition)
    name = f"{experiment} {method}"
    if runs:
        run_id = runs[0].info.run_id
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = client.create_run(
            mlflow_experiment, run_name=name, tags={**others, **tags}
        ).info.run_id
    return TrackerAddress(uri=parent.uri, run_id=run_id, name=name, continued=bool(runs))


def end_child(child: TrackerAddress, outputs: Mapping[str, str]) -> None:
    """End a child run as finished, with the versions of what its node has written as tags."""
    client = client_of(child.uri)
    set_tags(client, child.run_id, outputs)
    client.set_terminated(child.run_id, "FINISHED")


def parameter_groups(
    parameters: Mapping[str, Any], namespaces: Iterable[str] = ()
) -> dict[str, Any]:
    """Name parameter groups as MLflow is to show them, and leave out tasks.

    Args:
        parameters: The groups by their names in the catalog.
        namespaces: Prefixes that are removed from the names, one after the other.
    """
    groups = {}
    for name in sorted(parameters):
        group = name.removeprefix("params:")
        for namespace in namespaces:
            group = group.removeprefix(namespace)
        if group.rpartition(".")[2] != "task":
            groups[group] = parameters[name]
    return groups


def log_parameters(run: TrackerAddress, groups: Mapping[str, Any]) -> None:
    """Log parameter groups by dotted names, but for those that a continued run has already."""
    from mlflow.entities import Param

    client = client_of(run.uri)
    logged = client.get_run(run.run_id).data.params if run.continued else {}
    entries = [
        Param(key, str(value)[:PARAMETER_LENGTH])
        for key, value in flatten(groups).items()
        if key not in logged
    ]
    for start in range(0, len(entries), BATCH):
        client.log_batch(run.run_id, params=entries[start : start + BATCH])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
