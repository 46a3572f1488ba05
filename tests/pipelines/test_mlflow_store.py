"""Whether a store of MLflow answers: one line within ten seconds, whatever is wrong with it."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines import mlflow_store
from dpok_pipeline.pipelines.mlflow_store import PATIENCE, PATIENCE_AT_START, Messenger, connect
from tests.project import ROOT
from tests.project import mlflow_store as make_store


@pytest.fixture(autouse=True)
def default_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a user who has set nothing."""
    for name in {*PATIENCE, *PATIENCE_AT_START}:
        # Set first, so that what the code sets as a default is taken back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 1000)


def damage(path: Path) -> None:
    make_store(path.parent)
    content = bytearray(path.read_bytes())
    content[100:4096] = bytes(3996)
    path.write_bytes(content)


def lock(path: Path) -> sqlite3.Connection:
    make_store(path.parent)
    database = sqlite3.connect(path)
    database.execute("BEGIN EXCLUSIVE")
    return database


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (garbage, "file is not a database"),
        (damage, "database disk image is malformed"),
        (Path.mkdir, "not a file"),
        (lambda path: path.symlink_to("/nowhere/mlflow.db"), "not a file"),
        (lock, "database is locked"),
    ],
    ids=["garbage", "damaged", "a folder", "a dangling link", "locked"],
)
def test_a_database_that_cannot_be_used_is_named(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "mlflow.db"
    with ExitStack() as stack:
        if isinstance(held := make(path), sqlite3.Connection):
            stack.enter_context(closing(held))
        assert refused(f"sqlite:///{path}").startswith(f"{path}: {reason}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("what", ["the database", "its folder"])
def test_a_database_without_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Root may do everything, so that the answer of the system is made up."""
    path = tmp_path / "mlflow.db"
    make_store(tmp_path)
    forbidden = path if what == "the database" else tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != forbidden)
    assert refused(f"sqlite:///{path}").startswith(f"{forbidden}: no ")


def test_a_database_in_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    line = refused(f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    assert line.startswith(f"{tmp_path}/nowhere: no folder that can be written to")


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "nonsense://x", "postgresql://127.0.0.1:9/x", "mysql+nodriver://127.0.0.1:9/x"],
)
def test_an_address_of_no_store_is_refused(uri: str) -> None:
    assert refused(uri).startswith("MLflow does not answer (")


class Fails(BaseHTTPRequestHandler):
    """A server that answers every request with status 500."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def failing_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Fails) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """It takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_refuses_or_fails_is_answered_at_once(failing_server: str) -> None:
    for uri in ("http://127.0.0.1:9", failing_server, "http://no.such.host.invalid"):
        started = time.monotonic()
        assert refused(uri).startswith("MLflow does not answer (")
        assert time.monotonic() - started < 10  # milliseconds on an idle machine


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_within_ten_seconds(silent_server: str) -> None:
    started = time.monotonic()
    assert "timed out" in refused(silent_server).lower()
    assert time.monotonic() - started < 15  # eight seconds of waiting, and some work


def test_what_the_user_has_set_is_left_alone(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started = time.monotonic()
    refused(silent_server)
    assert time.monotonic() - started < 8  # one second of waiting, and some work
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


def test_after_the_start_a_server_is_given_more_time(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path}/mlflow.db")
    for name, value in PATIENCE.items():
        assert os.environ[name] == value
    assert "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR" not in os.environ


FIRST_RUN = """
import sys, time
from dpok_pipeline.pipelines.mlflow_store import connect
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
client = connect(sys.argv[1])
client.create_run("0")
"""


@pytest.mark.stress
def test_two_first_commands_in_the_same_second_make_the_tables_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    # Both have imported what they need by then.
    start = str(time.time() + 6)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_RUN, uri, start],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(MlflowClient(uri).search_runs(["0"])) == 2
    assert not list(tmp_path.glob("*.lock"))


class Clock:
    """Stands in for the time module."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_server_that_hangs_costs_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, messenger = Clock(), Messenger()
    monkeypatch.setattr(mlflow_store, "time", clock)
    tried: list[float] = []

    def hang() -> None:
        tried.append(clock.now)
        clock.now += 30
        raise OSError("timed out")

    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        for _ in range(700):
            messenger.tell("http://server", "metrics of color dpok", hang, often=True)
            clock.now += 1
        assert tried == [0.0, 330.0, 660.0]
        # What is told once in a run is tried in any case.
        assert messenger.tell("http://server", "output lora", lambda: "told") == "told"
        messenger.conclude()
    first, last = (record.getMessage() for record in caplog.records)
    assert "(timed out) and will lack metrics of color dpok; the run goes on" in first
    assert last.startswith("MLflow was away and lacks, in whole or in part: metrics of color dpok.")


def test_a_full_disk_is_not_taken_for_a_store_that_is_away() -> None:
    def write() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Messenger().tell("http://server", "output lora", write)


def refused(uri: str) -> str:
    """The line by which a store is refused."""
    with pytest.raises(InputError) as caught:
        connect(uri)
    line = str(caught.value)
    assert "\n" not in line
    assert "correct MLFLOW_TRACKING_URI or conf/*/mlflow.yml" in line
    return line
