"""A child run that is continued: found again, nothing in it twice. MLflow on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
import requests
import torch
from mlflow.exceptions import MlflowException

from dpok_pipeline.datasets.tracker import MlflowTracker
from tests.project import mlflow_store


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_store(tmp_path_factory.mktemp("tracking")) as made:
        yield made


@pytest.fixture
def parent(experiment: str) -> Iterator[str]:
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run.info.run_id


def begin() -> MlflowTracker:
    tracker = MlflowTracker("color", "rl")
    tracker.log_parameters({"rate": 0.1, "resume": "never"})
    for step in (1, 2, 3):
        tracker.log({"reward/mean": step}, step)
    tracker.log_images("rl/samples", torch.zeros(2, 3, 4, 4), 2)
    return tracker


def test_a_continued_child_gets_only_what_is_new(parent: str) -> None:
    killed = begin()
    client = mlflow.MlflowClient()
    again = MlflowTracker("color", "rl")
    again.log_parameters({"rate": 0.1, "resume": "auto", "more": 1})
    for step in (2, 3, 4, 5):
        again.log({"reward/mean": step * 10, "late": step}, step)
        again.log_images("rl/samples", torch.zeros(2, 3, 4, 4), step)
    again.finish("FINISHED")
    assert again.run_id == killed.run_id
    history = client.get_metric_history(again.run_id, "reward/mean")
    assert [(point.step, point.value) for point in history] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 40),
        (5, 50),
    ]
    assert [point.step for point in client.get_metric_history(again.run_id, "late")] == [2, 3, 4, 5]
    images = [file.path for file in client.list_artifacts(again.run_id, "images")]
    steps = sorted(int(path.split("+")[2]) for path in images if path.endswith(".png"))
    assert steps == [2, 3, 4, 5]
    run = client.get_run(again.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"rate": "0.1", "resume": "never", "more": "1"}


class Unreachable:
    """MLflow's client while its server is restarted."""

    error: Exception

    def __getattr__(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("(sqlite3.OperationalError) database is locked\nand the statement"),
        requests.exceptions.ConnectionError("connection refused"),
    ],
    ids=["database", "server"],
)
@pytest.mark.parametrize("since", ["the start", "a later step"])
def test_training_goes_on_while_mlflow_is_away(
    parent: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    since: str,
) -> None:
    tracker = MlflowTracker("color", "rl")
    if since != "the start":
        tracker.log({"reward/mean": 1}, 1)
    monkeypatch.setattr(Unreachable, "error", error, raising=False)
    with monkeypatch.context() as away:
        away.setattr(mlflow, "MlflowClient", Unreachable)
        for step in (2, 3):
            tracker.log({"reward/mean": step}, step)
            tracker.log_images("samples", torch.zeros(1, 3, 4, 4), step)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"MLflow takes no metrics of color rl ({str(error).splitlines()[0]}); " in warning
    tracker.log({"reward/mean": 4}, 4)
    tracker.log_images("samples", torch.zeros(1, 3, 4, 4), 4)
    history = mlflow.MlflowClient().get_metric_history(tracker.run_id, "reward/mean")
    assert [point.step for point in history] == ([4] if since == "the start" else [1, 4])
    assert mlflow.MlflowClient().list_artifacts(tracker.run_id, "images")


def test_another_method_or_parent_is_another_child(parent: str) -> None:
    first = begin().run_id
    assert MlflowTracker("color", "sft").run_id != first
    assert MlflowTracker("count", "rl").run_id != first
    mlflow.end_run()
    with mlflow.start_run(experiment_id=mlflow.get_run(parent).info.experiment_id):
        assert MlflowTracker("color", "rl").run_id != first
