"""What lineage asks MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from dpok_pipeline.configuration.tracking import TrackingConfig
from dpok_pipeline.lineage.records import Source, TrackedRun
from dpok_pipeline.lineage.tracked import CONTENT, DATASET, DATASET_VERSION, Store, pages_address
from tests.project import mlflow_store

LORA, VERSION = "color.dpok.lora", "2026-01-01T00.00.00.000Z"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return mlflow_store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(scope="module")
def run(uri: str) -> TrackedRun:
    """The run of a training whose LoRA is registered, with an alias."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("here")
    info = client.create_run(experiment, run_name="color dpok").info
    client.create_registered_model("here.color.dpok")
    client.create_model_version(
        "here.color.dpok",
        source=f"{info.artifact_uri}/lora",
        run_id=info.run_id,
        tags={DATASET: LORA, DATASET_VERSION: VERSION, CONTENT: "abc"},
    )
    client.set_registered_model_alias("here.color.dpok", "best", "1")
    return TrackedRun(experiment_id=experiment, run_id=info.run_id, name="color dpok")


def store(uri: str) -> Store:
    return Store(TrackingConfig(tracking_uri=uri, experiment_name="here"), {})


def test_a_runs_registered_models_have_their_aliases_and_pages(uri: str, run: TrackedRun) -> None:
    asked = store(uri)
    (model,) = asked.models(run)
    assert model.words == "here.color.dpok version 1 (@best)"
    assert asked.pages.model(model).endswith("/#/models/here.color.dpok/versions/1")


def test_a_registered_version_leads_to_the_catalogs(uri: str, run: TrackedRun) -> None:
    asked = store(uri)
    found = asked.registered("models:/here.color.dpok/1")
    assert found == Source(name=LORA, version=VERSION, digest="abc")
    assert asked.registered("models:/here.color.dpok/2") is None
    assert not asked.trouble


def test_a_run_that_was_deleted_or_never_was(uri: str, run: TrackedRun) -> None:
    assert store(uri).state(run).status == "RUNNING"
    MlflowClient(uri).delete_run(run.run_id)
    try:
        assert store(uri).state(run).status == "deleted"
    finally:
        MlflowClient(uri).restore_run(run.run_id)
    asked = store(uri)
    assert asked.state(run.model_copy(update={"run_id": "0" * 32})) is None
    assert not asked.trouble


def test_a_store_that_goes_away_is_said_once_and_stops_nothing(
    tmp_path: Path, run: TrackedRun
) -> None:
    uri = mlflow_store(tmp_path)
    asked = store(uri)
    assert not asked.trouble
    (tmp_path / "mlflow.db").unlink()
    assert asked.models(run) == []
    assert "its database is gone" in asked.trouble
    assert asked.state(run) is None
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:////somewhere/mlflow.db", "http://127.0.0.1:5000"),
        ("https://anna:secret@runs.example.org/mlflow/", "https://runs.example.org/mlflow"),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000"),
    ],
)
def test_links_hold_no_password(uri: str, address: str) -> None:
    assert pages_address(uri) == address
