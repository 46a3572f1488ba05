"""MLflow after `kill -9`, wherever it strikes: one run, one model, nothing twice, nothing open."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from dpok_pipeline.pipelines.mlflow_store import PARENT
from tests.forked import PROCESSES
from tests.hooks import killed_command
from tests.hooks.tracked_project import FIRST, SECOND
from tests.project import mlflow_store
from tests.stressed import always_or_stressed

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database, which a copy is quicker than the making of."""
    folder = tmp_path_factory.mktemp("database")
    mlflow_store(folder)
    return folder / "mlflow.db"


@pytest.fixture
def folder(tmp_path: Path, database: Path) -> Path:
    shutil.copy(database, tmp_path)
    return tmp_path


def in_a_process(target: Callable[..., None], *arguments: Any, **options: Any) -> int | None:
    process = PROCESSES.Process(target=target, args=arguments, kwargs=options)
    process.start()
    process.join()
    return process.exitcode


def writes(folder: Path) -> list[str]:
    """What the processes have written so far, and forget it."""
    path = folder / "writes.txt"
    lines = path.read_text().splitlines()
    path.unlink()
    return lines


def client_of(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def runs(folder: Path) -> list[Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("killed")
    order = ["attributes.start_time ASC"]
    return list(client.search_runs([experiment.experiment_id], order_by=order))


def check_exactly_once(folder: Path) -> None:
    """Check that MLflow has of a command what it has of an uninterrupted one."""
    client = client_of(folder)
    found = runs(folder)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    parent, child, evaluation = found
    assert PARENT not in parent.data.tags
    for run, name in ((child, "color dpok"), (evaluation, "color evaluation")):
        assert (run.info.run_name, run.data.tags[PARENT]) == (name, parent.info.run_id)
    assert child.data.params == {"strength": "1"}
    (model,) = client.search_logged_models([parent.info.experiment_id])
    assert model.status == "READY"
    (output,) = child.outputs.model_outputs
    assert output.model_id == model.model_id
    (registered,) = client.search_model_versions("name = 'killed.color.dpok'")
    assert registered.tags["model_id"] == model.model_id
    assert str(registered.version) == json.loads(model.tags["mlflow.modelVersions"])[0]["version"]
    points = client.get_metric_history(child.info.run_id, "reward/mean")
    assert [point.step for point in points] == [1, 2, 3]
    assert len(parent.inputs.dataset_inputs) == 1
    (version,) = {path.name for path in folder.glob("lora/*")}
    assert parent.data.tags["output.color.dpok.lora"] == version
    assert child.data.tags["output.color.dpok.curves"] == version
    for run, place in ((child, "color/dpok/curves"), (evaluation, "color/report")):
        (file,) = client.list_artifacts(run.info.run_id, place)
        assert file.path.endswith(".csv")
    assert not list(folder.rglob("*.json.lock"))
    assert not list((folder / "06_models").rglob("__default__.json"))


# The n-th write of an uninterrupted command, by its name; checked below.
POINTS = {
    "the journal is written": ("write", 1),
    "the command's run is opened": ("create_run", 1),
    "a node's run is opened": ("create_run", 2),
    "the node has logged a step": ("log_batch", 6),
    "the digest of an input is logged": ("log_inputs", 1),
    "a model is begun": ("create_logged_model", 1),
    "a model's files are there": ("log_model_artifacts", 1),
    "a model is whole": ("finalize_logged_model", 1),
    "a model is linked to its run": ("log_outputs", 1),
    "a model is registered": ("create_registered_model", 1),
    "a version is registered": ("create_model_version", 1),
    "an artifact is logged": ("log_artifact", 1),
    "the node's run has ended": ("set_terminated", 1),
    "the node is noted as done": ("write", 3),
    "the command's run has ended": ("set_terminated", 3),
}


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory, database: Path) -> list[str]:
    """What an uninterrupted command writes, in its order."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    shutil.copy(database, folder)
    assert in_a_process(killed_command.run, folder, FIRST) == 0
    check_exactly_once(folder)
    return writes(folder)


# The window in which a second version could come up.
WINDOWS = ("a version is registered",)


@pytest.mark.parametrize("point", always_or_stressed(POINTS, WINDOWS))
def test_killed_just_after(point: str, folder: Path, order: list[str]) -> None:
    name, number = POINTS[point]
    at = [index for index, write in enumerate(order, start=1) if write == name][number - 1]
    assert in_a_process(killed_command.run, folder, FIRST, at) == -signal.SIGKILL
    assert in_a_process(killed_command.run, folder, SECOND) == 0
    check_exactly_once(folder)


@pytest.mark.stress
def test_killed_before_mlflow_is_asked_for_a_run(folder: Path) -> None:
    assert in_a_process(killed_command.kill_when_opening, folder, FIRST) == -signal.SIGKILL
    assert not runs(folder)
    assert in_a_process(killed_command.run, folder, SECOND) == 0
    check_exactly_once(folder)


@pytest.mark.stress
def test_killed_again_and_again_each_time_a_write_later(folder: Path, order: list[str]) -> None:
    kills = 0
    while in_a_process(killed_command.run, folder, FIRST, kills + 1) == -signal.SIGKILL:
        kills += 1
        assert kills < len(order)
    # What a killed command has told is not told again, so that later commands have less to tell.
    assert kills > len(order) // 3
    check_exactly_once(folder)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"resume": "never"}, id="resume=never"),
        pytest.param(
            {"strength": 2}, id="another parameter, nothing done", marks=pytest.mark.stress
        ),
    ],
)
def test_a_journal_that_is_given_up_ends_its_runs_as_killed(
    folder: Path, options: dict[str, Any]
) -> None:
    assert in_a_process(killed_command.run, folder, FIRST, 2) == -signal.SIGKILL
    assert [run.info.status for run in runs(folder)] == ["RUNNING"]
    assert in_a_process(killed_command.run, folder, SECOND, **options) == 0
    assert [run.info.status for run in runs(folder)] == ["KILLED", *["FINISHED"] * 3]
