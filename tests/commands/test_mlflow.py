"""`kedro mlflow ui`: which store it serves, what it links to, and that it serves at all."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient

from dpok_pipeline.commands.mlflow import mlflow, runs_page
from dpok_pipeline.configuration.tracking import SERVER, TrackingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.tracking.headline import VIEW_TAG
from tests.project import ROOT, mlflow_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one MLflow experiment, `trial`."""
    uri = mlflow_store(tmp_path_factory.mktemp("store"))
    MlflowClient(uri).create_experiment("trial")
    return uri


@pytest.fixture
def project(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that is tracked in that store, as the current folder."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for name, content in (
        ("base", f"tracking_uri: {store}\nexperiment_name: trial\n"),
        ("local", "{}\n"),
        ("empty", "experiment_name: nothing_yet\n"),
        ("broken", "experimentname: trial\n"),
    ):
        (tmp_path / "conf" / name).mkdir(parents=True)
        (tmp_path / "conf" / name / "mlflow.yml").write_text(content)
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SERVER, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    bootstrap_project(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have taken the process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    return commands


def ui(*arguments: str) -> Result:
    return CliRunner().invoke(mlflow, ["ui", *arguments])


def test_the_configured_store_is_served_by_this_interpreter(
    project: Path, store: str, started: list[list[str]]
) -> None:
    result = ui("--port", "5001")
    assert result.output == "Runs: http://127.0.0.1:5001/#/experiments/1/runs\n"
    (command,) = started
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == store
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")


def test_the_link_opens_the_view_that_evaluation_has_left(store: str) -> None:
    client = MlflowClient(store)
    client.set_experiment_tag(client.create_experiment("viewed"), VIEW_TAG, "{}")
    config = TrackingConfig(tracking_uri=store, experiment_name="viewed")
    assert runs_page(config, "http://x").endswith("/runs?viewStateShareKey=headline")


def test_an_environment_without_runs_is_said_to_have_none(
    project: Path, started: list[list[str]]
) -> None:
    result = ui("--env", "empty")
    assert "Runs: http://127.0.0.1:5000 (nothing_yet has none yet" in result.output
    assert len(started) == 1


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            "broken",
            "Error: conf/*/mlflow.yml: experimentname: no such key; did you mean experiment_name?",
        ),
        ("nonsense", "conf/nonsense: no such environment; there are base, broken, empty, local"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    project: Path, started: list[list[str]], env: str, message: str
) -> None:
    result = ui("--env", env)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not started


def test_a_server_is_not_served_again(
    project: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    result = ui()
    assert result.exit_code == 1
    assert "MLflow does not answer" in result.output
    assert not started


def test_a_port_that_is_taken_is_named_before_anything_starts(
    project: Path, started: list[list[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = ui("--port", str(port))
    assert result.exit_code == 1
    assert result.output == (
        f"Error: --host 127.0.0.1 --port {port}: Address already in use; give another one, such "
        f"as --host 127.0.0.1 --port {port + 1}\n"
    )
    assert not started


def test_a_host_that_this_machine_has_not_is_named(project: Path, started: list[list[str]]) -> None:
    for host in ("203.0.113.1", "no.such.host.invalid"):
        result = ui("--host", host)
        assert result.exit_code == 1
        assert result.output.startswith(f"Error: --host {host} --port 5000: ")
        assert result.output.count("\n") == 1
    assert not started


def test_a_database_of_garbage_is_answered_in_one_line(
    project: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = project / "mlflow.db"
    garbage.write_text("garbage" * 1000)
    monkeypatch.setenv(SERVER, f"sqlite:///{garbage}")
    result = ui()
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {garbage}: file is not a database, so that MLflow")
    assert result.output.count("\n") == 1
    assert not started


def test_a_page_lists_the_runs_of_the_environments_experiment(store: str) -> None:
    config = TrackingConfig(tracking_uri=store, experiment_name="trial")
    assert runs_page(config, "http://tracking") == "http://tracking/#/experiments/1/runs"
    with pytest.raises(InputError, match="MLflow does not answer"):
        runs_page(config.model_copy(update={"tracking_uri": "mlruns"}), "http://tracking")
