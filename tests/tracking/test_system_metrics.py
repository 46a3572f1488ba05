"""System metrics: logged while a command runs, and never in anybody's way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dpok_pipeline.pipelines.task import TrackerAddress
from dpok_pipeline.tracking.system_metrics import SWITCH, SystemMetrics
from tests.project import mlflow_store

CPU = "system/cpu_utilization_percentage"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return mlflow_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[SystemMetrics]:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.delenv(SWITCH, raising=False)
    started = SystemMetrics()
    yield started
    started.stop()


def open_run(store: str, continued: bool = False) -> TrackerAddress:
    run = MlflowClient(store).create_run("0").info.run_id
    return TrackerAddress(uri=store, run_id=run, continued=continued)


def steps(run: TrackerAddress) -> list[int]:
    return [point.step for point in MlflowClient(run.uri).get_metric_history(run.run_id, CPU)]


def wait_for(run: TrackerAddress, count: int) -> list[int]:
    until = time.monotonic() + 60
    while len(found := steps(run)) < count and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_samples_end_with_the_command_and_go_on_with_it(store: str, metrics: SystemMetrics) -> None:
    run = open_run(store)
    metrics.start(run)
    assert wait_for(run, 2)[:2] == [0, 1]
    metrics.stop()
    before = steps(run)
    time.sleep(0.2)
    assert steps(run) == before
    metrics.start(run.model_copy(update={"continued": True}))
    after = wait_for(run, len(before) + 1)
    assert after == list(range(len(after)))


@pytest.mark.parametrize("why", ["switched off", "psutil is missing"])
def test_without_samples_nothing_is_started(
    store: str, metrics: SystemMetrics, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "switched off":
        monkeypatch.setenv(SWITCH, "false")
    else:
        for name in [name for name in sys.modules if name.startswith("mlflow.system_metrics")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "psutil", None)
    before = set(threading.enumerate())
    metrics.start(open_run(store))
    assert not set(threading.enumerate()) - before


def test_a_database_that_goes_away_is_not_made_again(
    tmp_path: Path, metrics: SystemMetrics
) -> None:
    run = open_run(mlflow_store(tmp_path))
    metrics.start(run)
    wait_for(run, 1)
    (tmp_path / "mlflow.db").unlink()
    time.sleep(0.3)
    metrics.stop()
    assert not (tmp_path / "mlflow.db").exists()
