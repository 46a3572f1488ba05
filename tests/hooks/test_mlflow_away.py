"""MLflow goes away while a command runs: the command goes on, and says what MLflow lacks."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Node
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dpok_pipeline.hooks import mlflow_runs, tracking
from dpok_pipeline.hooks.summary import SummaryHooks
from dpok_pipeline.pipelines import mlflow_store, mlflow_tracker
from dpok_pipeline.tracking import cost, system_metrics
from tests.hooks.tracked_project import FIRST, Project
from tests.project import mlflow_store as mlflow_store_of

AWAY = {
    "a server that refuses": lambda _: MlflowClient("http://127.0.0.1:9"),
    "a database that is locked": lambda _: Locked(),
}


class Locked:
    """MLflow's client while another program holds the database."""

    def __getattr__(self, name: str) -> Any:
        raise MlflowException("(sqlite3.OperationalError) database is locked\nand the statement")


def go_away(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    for module in (mlflow_store, mlflow_runs, tracking, mlflow_tracker, cost, system_metrics):
        monkeypatch.setattr(module, "client_of", AWAY[how])


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("dpok_pipeline")]


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> SummaryHooks:
    """The hooks that have the last word, without a table of results."""
    monkeypatch.setattr(SummaryHooks, "_summarise", lambda *_: None)
    return SummaryHooks()


class GoesAway:
    """Stands for the world outside: MLflow goes away when a node starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, how: str, node: str) -> None:
        self._monkeypatch, self._how, self._node = monkeypatch, how, node

    @hook_impl(tryfirst=True)
    def before_node_run(self, node: Node) -> None:
        if node.name == self._node:
            go_away(self._monkeypatch, self._how)


@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize(
    ("node", "lacking"),
    [
        (
            "prepare",
            "versions of prepare; input prompts; the run color dpok; output color.dpok.curves",
        ),
        ("color.dpok.train_lora", "the run color dpok; output color.dpok.curves"),
        ("color.compare_methods", "the run color evaluation; output color.comparison"),
    ],
)
def test_a_run_goes_on_without_mlflow_and_says_what_it_lacks(
    tracked: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    node: str,
    lacking: str,
    summary: SummaryHooks,
) -> None:
    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        tracked.run(others=(summary, GoesAway(monkeypatch, how, node)))
    first, last = warnings_of(caplog)
    assert first.startswith("MLflow does not take what it is told (")
    assert f" and will lack {lacking.partition(';')[0]}; the run goes on" in first
    assert f"lacks, in whole or in part: {lacking}" in last
    assert "the end of smoke, training+evaluation, seed 0. The catalog has all of it" in last
    assert "\n" not in first + last
    assert (tracked.folder / "color" / "comparison.csv" / FIRST / "comparison.csv").is_file()


def test_a_node_that_is_training_goes_on_and_its_run_lacks_what_was_missed(
    tracked: Project,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    summary: SummaryHooks,
) -> None:
    tracked.crash = lambda: go_away(monkeypatch, "a database that is locked")
    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        tracked.run(others=(summary,))
    assert "will lack output color.dpok.curves" in warnings_of(caplog)[0]
    assert "the end of color dpok" in warnings_of(caplog)[-1]
    assert tracked.steps_of(tracked.runs[1]) == [1, 2, 3]


def test_a_database_that_is_deleted_in_mid_run_is_noticed_and_not_made_again(
    tracked: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture, summary: SummaryHooks
) -> None:
    """An open connection would write into a file that has no name any more."""
    database = tmp_path / "mlflow.db"
    tracked.client = MlflowClient(mlflow_store_of(tmp_path))
    tracked.config["tracking_uri"] = f"sqlite:///{database}"
    tracked.crash = database.unlink
    with caplog.at_level(logging.WARNING, "dpok_pipeline"):
        tracked.run(others=(summary,))
    first, last = warnings_of(caplog)
    assert f"its database is gone: '{database}'" in first
    assert "the end of smoke, training+evaluation, seed 0" in last
    assert not database.exists()


def test_a_server_that_is_away_at_the_end_does_not_hide_how_it_ended(
    tracked: Project,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    summary: SummaryHooks,
) -> None:
    def fail() -> None:
        go_away(monkeypatch, "a server that refuses")
        raise ZeroDivisionError("the node's own fault")

    tracked.crash = fail
    with pytest.raises(ZeroDivisionError), caplog.at_level(logging.WARNING, "dpok_pipeline"):
        tracked.run(others=(summary,))
    assert "; what tracking cost; the end of smoke, " in warnings_of(caplog)[-1]


def test_a_run_that_mlflow_missed_in_part_ends_all_its_child_runs(
    tracked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow was away when the node ended, and is back when the command ends."""

    class IsBack:
        @hook_impl(tryfirst=True)
        def after_dataset_saved(self, dataset_name: str) -> None:
            if dataset_name == "color.comparison":
                away.undo()

    away = pytest.MonkeyPatch()
    tracked.crash = lambda: go_away(away, "a database that is locked")
    tracked.run(others=(IsBack(),))
    assert {state for _, state in tracked.states()} == {"FINISHED"}
