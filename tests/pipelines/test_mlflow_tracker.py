"""The tracker of a node: forgiving, continued without repeating itself, made from an address."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.pipelines.mlflow_store import MESSENGER
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.task import TrackerAddress
from tests.algorithms.test_resume import train
from tests.project import mlflow_store


@pytest.fixture(autouse=True)
def new_command() -> None:
    MESSENGER.begin()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    folder = tmp_path_factory.mktemp("tracking")
    client = MlflowClient(mlflow_store(folder))
    client.create_experiment("trackers", f"file://{folder / 'files'}")
    return client


@pytest.fixture
def address(client: MlflowClient) -> TrackerAddress:
    """An open run."""
    experiment = client.get_experiment_by_name("trackers").experiment_id
    run = client.create_run(experiment, run_name="color dpok")
    return TrackerAddress(uri=client.tracking_uri, run_id=run.info.run_id, name="color dpok")


def steps(client: MlflowClient, address: TrackerAddress, key: str = "reward/mean") -> list[int]:
    return [point.step for point in client.get_metric_history(address.run_id, key)]


def image_steps(client: MlflowClient, address: TrackerAddress) -> list[int]:
    paths = [file.path for file in client.list_artifacts(address.run_id, "images")]
    return sorted(int(path.split("+")[2]) for path in paths if path.endswith(".png"))


def begin(address: TrackerAddress) -> None:
    """What a node had logged when it was killed."""
    tracker = MlflowTracker(address)
    for step in (1, 2, 3):
        tracker.log({"reward/mean": step}, step)
    tracker.log_image("dpok/samples", torch.zeros(3, 4, 4), 2)


def test_a_continued_run_gets_only_what_is_new(
    client: MlflowClient, address: TrackerAddress
) -> None:
    begin(address)
    again = MlflowTracker(address.model_copy(update={"continued": True}))
    for step in (2, 3, 4, 5):
        again.log({"reward/mean": step * 10, "late": step}, step)
        again.log_image("dpok/samples", torch.zeros(3, 4, 4), step)
    history = client.get_metric_history(address.run_id, "reward/mean")
    expected = [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50)]
    assert [(point.step, point.value) for point in history] == expected
    assert steps(client, address, "late") == [2, 3, 4, 5]
    assert image_steps(client, address) == [2, 3, 4, 5]


def test_an_address_is_all_that_another_process_needs(
    client: MlflowClient, address: TrackerAddress
) -> None:
    MlflowTracker(pickle.loads(pickle.dumps(address))).log({"reward/mean": 1}, 1)
    assert steps(client, address) == [1]
    assert mlflow.active_run() is None


def test_without_an_address_everything_is_dropped(client: MlflowClient) -> None:
    before = len(client.search_runs(["1"]))
    MlflowTracker(None).log({"reward/mean": 1}, 1)
    MlflowTracker(None).log_image("samples", torch.zeros(3, 4, 4), 1)
    assert len(client.search_runs(["1"])) == before


class Locked:
    """MLflow's client while another program holds the database."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __getattr__(self, name: str) -> Any:
        raise MlflowException("(sqlite3.OperationalError) database is locked\nand the statement")


@pytest.mark.parametrize("continued", [False, True])
def test_training_goes_on_while_the_database_is_locked(
    client: MlflowClient,
    address: TrackerAddress,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    continued: bool,
) -> None:
    begin(address)
    tracker = MlflowTracker(address.model_copy(update={"continued": continued}))
    with monkeypatch.context() as away:
        away.setattr(mlflow, "MlflowClient", Locked)
        for step in (4, 5):
            tracker.log({"reward/mean": step}, step)
            tracker.log_image("samples", torch.zeros(3, 4, 4), step)
    (warning,) = [record.getMessage() for record in caplog.records]
    expected = (
        "MLflow does not take what it is told ((sqlite3.OperationalError) database is locked) and "
        "will lack metrics of color dpok; "
    )
    assert warning.startswith(expected)
    tracker.log({"reward/mean": 6}, 6)
    tracker.log_image("samples", torch.zeros(3, 4, 4), 6)
    assert steps(client, address) == [1, 2, 3, 6]
    assert image_steps(client, address) == [2, 6]


def test_a_killed_training_logs_each_frame_once(
    client: MlflowClient, address: TrackerAddress, tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    class Killed(MlflowTracker):
        def log_image(self, key: str, image: Any, step: int) -> None:
            super().log_image(key, image, step)
            if step == 3:  # it is logged, and the checkpoint is still that of step 2
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("rwr", tiny_model, tmp_path, Killed(address), checkpoint_every=2)
    assert image_steps(client, address) == [0, 1, 2, 3]
    continued = MlflowTracker(address.model_copy(update={"continued": True}))
    train("rwr", tiny_model, tmp_path, continued, checkpoint_every=2)
    assert image_steps(client, address) == [0, 1, 2, 3, 4]
    assert steps(client, address, "images_seen") == [1, 2, 3, 4]


def test_training_goes_on_while_the_server_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = TrackerAddress(uri="http://127.0.0.1:9", run_id="0" * 32, continued=True)
    tracker = MlflowTracker(address)
    for step in (1, 2):
        tracker.log({"reward/mean": step}, step)
        tracker.log_image("samples", torch.zeros(3, 4, 4), step)
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("dpok_pipeline")]
    assert len(warnings) == 1
    assert f"will lack metrics of {'0' * 32}; the run goes on" in warnings[0]
