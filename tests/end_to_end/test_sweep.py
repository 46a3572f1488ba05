"""`kedro sweep` for real: stopped, given again, with workers, and in MLflow."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient

from dpok_pipeline.sweeps import running, trial
from dpok_pipeline.training.signals import Stopped
from tests.project import make_project

pytestmark = pytest.mark.xdist_group("sweep")

RATES = "rl_training.learning_rate=1e-4,1e-3"
Sweep = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = make_project(tmp_path / "dpok-pipeline")
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def sweep(folder: Path) -> Sweep:
    metadata = bootstrap_project(folder)

    def run(*arguments: str) -> Result:
        from dpok_pipeline.cli import cli

        result = CliRunner().invoke(
            cli, ["sweep", *arguments, "--env", "smoke", "--images", "4"], obj=metadata
        )
        logging.disable(logging.NOTSET)
        return result

    return run


def sweeps(folder: Path) -> Path:
    return folder / "data" / "smoke" / "08_reporting" / "sweeps"


def trials(folder: Path) -> dict[str, dict]:
    """What each trial has come to, but for its time."""
    found = {}
    for path in (sweeps(folder) / "trials").glob("*.json"):
        found[path.name] = {**json.loads(path.read_text()), "seconds": 0}
    return found


def runs(folder: Path) -> list:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def test_a_sweep_that_is_stopped_goes_on_with_what_is_missing(
    folder: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Counter[str]()

    def stop_third(one: trial.Trial) -> trial.Outcome:
        count["run"] += 1
        if count["run"] == 3:
            raise Stopped(15)
        return one.run()

    monkeypatch.setattr(running, "run_trial", stop_third)
    stopped = sweep("dpok", "color", RATES)
    assert stopped.exit_code == 128 + 15, stopped.output
    assert len(trials(folder)) == 2
    assert [run.info.status for run in runs(folder)] == ["KILLED"]
    monkeypatch.setattr(running, "run_trial", trial.run_trial)
    done = sweep("dpok", "color", RATES)
    assert done.exit_code == 0, done.output
    assert len(trials(folder)) == 3
    report = Path(done.output.rpartition("report: ")[2].strip())
    assert "learning_rate" in report.read_text()
    table = pd.read_csv(report.with_name("trials.csv"))
    assert sorted(table["rl_training.learning_rate"]) == [1e-4, 1e-3]
    # The parent was opened again, and each trial's run is there once.
    statuses = Counter((run.info.run_name, run.info.status) for run in runs(folder))
    assert len(statuses) == 3
    assert {status for _, status in statuses} == {"FINISHED"}
    assert set(statuses.values()) == {1}
    children = [run for run in runs(folder) if "mlflow.parentRunId" in run.data.tags]
    assert {run.data.tags["method"] for run in children} == {"dpok"}
    assert all(run.data.metrics["cost/images"] == 16 for run in children)
    assert not [*folder.glob("data/smoke/06_models/work/sweeps/*")]
    # Given once more, nothing is trained.
    monkeypatch.setattr(running, "run_trial", None)
    assert sweep("dpok", "color", RATES).exit_code == 0
    assert len(runs(folder)) == 3


@pytest.mark.stress
def test_a_setting_that_diverges_ends_no_sweep_but_one_of_nothing_else(
    folder: Path, sweep: Sweep
) -> None:
    done = sweep("dpok", "color", "rl_training.learning_rate=1e30,1e-4")
    assert done.exit_code == 0, done.output
    table = pd.read_csv(Path(done.output.rpartition("report: ")[2].strip()).with_name("trials.csv"))
    assert [*table["rl_training.learning_rate"]] == [1e-4, 1e30]
    assert table["diverged"].str.contains("4 of 4 images are not finite").tolist() == [
        False,
        True,
    ]
    statuses = Counter(run.info.status for run in runs(folder))
    assert statuses == {"FINISHED": 2, "FAILED": 1}
    alone = sweep("dpok", "color", "rl_training.learning_rate=1e30")
    assert alone.exit_code == 1
    assert alone.stderr.splitlines()[-1].startswith(
        "Error: every setting has diverged, learning_rate 1e+30 because color, "
    )
    before = len(runs(folder))
    assert before == 5
    assert sweep("dpok", "color", "rl_training.learning_rate=1e30").exit_code == 1
    assert len(runs(folder)) == before  # Given again, it makes no further run.


def test_the_same_sweep_at_the_same_time_is_refused_and_the_first_left_alone(
    folder: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Path] = []

    def stop(one: trial.Trial) -> trial.Outcome:
        held.extend((folder / "data/smoke/06_models/work/runs/sweeps").glob("*.lock"))
        raise Stopped(15)

    monkeypatch.setattr(running, "run_trial", stop)
    assert sweep("dpok", "color", RATES).exit_code == 128 + 15
    (lock,) = held
    assert not lock.exists()
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = runs(folder)
    client.update_run(run.info.run_id, status="RUNNING")
    with FileLock(lock):  # as if it were still going on
        refused = sweep("dpok", "color", RATES)
    assert refused.exit_code == 1
    assert f"{lock.with_suffix('')}: in use by another command; wait" in refused.stderr
    assert [run.info.status for run in runs(folder)] == ["RUNNING"]


def test_trials_of_other_code_are_run_again(
    folder: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep's own code, too, which no run depends on."""
    ran: list[str] = []

    def pretend(one: trial.Trial) -> trial.Outcome:
        ran.append(one.title)
        scores = dict.fromkeys([*one.models.scorers, "saturation"], 1.0)
        return trial.Outcome(scores=scores, images=16, seconds=1.0)

    monkeypatch.setattr(running, "run_trial", pretend)
    assert sweep("dpok", "color", RATES).exit_code == 0
    first = ran.copy()
    assert len(first) == 3
    monkeypatch.setattr(trial, "file_sha256", lambda path: f"edited {path.name}")
    assert sweep("dpok", "color", RATES).exit_code == 0
    assert ran == first * 2


@pytest.mark.stress
def test_workers_come_to_the_same(
    folder: Path, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an offline method, whose trials share their images, halved."""
    arguments = ("sft", "color,count", "sft_training.learning_rate=1e-4,1e-3", "--halving", "2")
    assert sweep(*arguments, "--workers", "2").exit_code == 0
    beside = trials(folder)
    for path in (sweeps(folder) / "trials").iterdir():
        path.unlink()
    assert sweep(*arguments).exit_code == 0
    assert trials(folder) == beside
    assert len(beside) == 2 + 4 + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dpokk", "color"], "dpokk: no such method; did you mean dpok?"),
        (["dpok", "colour"], "colour: no such experiment; did you mean color?"),
        (["dpok", "color,color"], "give different experiments"),
        (["dpok", "color", "rl_training.learning_rate=1e-3..1"], "a grid takes values"),
        (["dpok", "color", "rl_training.learning_rate=-1,1"], "rl_training.learning_rate is -1"),
        (["dpok", "color", "sampling.eta=0"], "sampling: eta is 0"),
        (["dpok", "color", RATES, "--seeds", "0"], "--seeds 0: give a whole number from 1 to 100"),
        (["dpok", "color", RATES, "--trials", "3"], "--trials: a grid has as many"),
        (["dpok", "color", RATES, "--halving", "1"], "--halving 1: give a whole number from 2"),
        (["dpok", "color", "--search", "random"], "nothing to vary"),
        (
            ["dpok", "color", "lora.rank=2..8", "--search", "tpe", "--halving", "3"],
            "--halving needs all settings at once",
        ),
        (["dpok", "color", RATES, "--objective", "rewad"], "--objective rewad: no such score"),
        (["dpok", "color", RATES, "--guard", "beauty=1"], "--guard beauty: no such score"),
        (["dpok", "color", RATES, "--guard", "aesthetic=-1"], "--guard aesthetic=-1: give"),
        (["dpok", "color", RATES, "--guard", "aesthetic"], "--guard aesthetic: give"),
        (["dpok", "color", RATES, "--workers", "0"], "--workers 0: give a number"),
        (["dpok", "color", RATES, "--params", "lora.rnk=3"], "lora.rnk: no such parameter"),
        (
            ["dpok", "color", "rl_training.iterations=2,4", "--halving", "2"],
            "rl_training.iterations: --halving decides how long a run is",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    folder: Path, sweep: Sweep, arguments: list[str], message: str
) -> None:
    result = sweep(*arguments)
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    # In a process that other tests have used, a library's bars may stand before it.
    said = [line for line in re.split("[\r\n]+", result.stderr) if "it/s" not in line]
    assert [line for line in said if line] == [said[-2]]
    assert not sweeps(folder).exists()
    assert not (folder / "mlflow.db").exists()
