"""A tracked project, in an MLflow database that the tests of a module share."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from dpok_pipeline.configuration.tracking import SERVER
from tests.hooks.tracked_project import Project
from tests.project import mlflow_store


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return MlflowClient(mlflow_store(tmp_path_factory.mktemp("tracking")))


@pytest.fixture
def tracked(tmp_path: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv(SERVER, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Project(tmp_path, client)
