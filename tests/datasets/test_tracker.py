"""A child run that is continued: found again, nothing in it twice. MLflow on SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
import pytest
import torch

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


def test_another_method_or_parent_is_another_child(parent: str) -> None:
    first = begin().run_id
    assert MlflowTracker("color", "sft").run_id != first
    assert MlflowTracker("count", "rl").run_id != first
    mlflow.end_run()
    with mlflow.start_run(experiment_id=mlflow.get_run(parent).info.experiment_id):
        assert MlflowTracker("color", "rl").run_id != first
