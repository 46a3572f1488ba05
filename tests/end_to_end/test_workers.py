"""`kedro run --workers 2`, one of whose workers is killed: what it leaves, beside a run without."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.end_to_end.conftest import Outcome, versions
from tests.project import EXPERIMENTS, make_project, surroundings

pytestmark = pytest.mark.xdist_group("whole run")

SLICES = ("--params", "rl_training.slices=2,sft_training.slices=2")
WEIGHTS = "pytorch_lora_weights.safetensors"
#: Parts of names whose values are times.
TIMES = ("perf/", "system/", "seconds")


def workers_of(pid: int) -> list[int]:
    """Find the worker processes of a command."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid and "spawn_main" in (status.parent / "cmdline").read_text():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `kedro run` in a project, with one thread in each process."""
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "smoke", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=surroundings(),
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a command; return what it said."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def signal_a_worker(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    """Send a signal to one of the workers once a training has a checkpoint."""
    until = time.monotonic() + 120
    while not [*folder.glob("data/smoke/06_models/work/**/train_*/checkpoints/*")]:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[0], number)


def nodes_done(folder: Path) -> int:
    """Count the nodes that a command has finished so far."""
    journals = [*folder.glob("data/smoke/06_models/work/runs/smoke/*.json")]
    return len(json.loads(journals[0].read_text())["done"]) if journals else 0


def outputs(folder: Path, version: str) -> dict[str, Path]:
    """The files of one run's version, by their paths without it."""
    root = folder / "data" / "smoke"
    return {
        path.relative_to(root).as_posix().replace(version, "VERSION"): path
        for path in versions(folder, "smoke")
        if version in path.parts
    }


def version_of(folder: Path) -> str:
    """The version of the only run of a project."""
    found = {path.name for path in (folder / "data" / "smoke").glob("0[1-8]*/**/*T*Z")}
    assert len(found) == 1
    return found.pop()


@pytest.mark.stress
def test_loras_and_samples_are_those_of_a_run_without_workers(
    finished: Outcome, project: Path, tmp_path: Path
) -> None:
    """Although one of the workers is killed on the way."""
    folder = make_project(tmp_path / "dpok-pipeline")
    pipelines = "prompt_preparation,sample_generation,sft_training,rl_training"
    process = start(folder, "--workers", "2", "--pipelines", pipelines)
    signal_a_worker(process, folder, signal.SIGKILL)
    assert "signal 9" in finish(process)
    report = re.findall(r"08_reporting/report.html/([^/]+)/", finished.log)[-1]
    ours, theirs = outputs(project, report), outputs(folder, version_of(folder))
    loras = [name for name in ours if name.endswith(WEIGHTS)]
    samples = [name for name in ours if "sft_samples" in name and name.endswith(".parquet")]
    assert len(loras) == 2 * len(EXPERIMENTS)
    assert len(samples) >= len(EXPERIMENTS)
    for name in (*loras, *samples):
        assert ours[name].read_bytes() == theirs[name].read_bytes(), name
    # What kedro-viz is told: each node once, the one whose worker died as well.
    told = json.loads((folder / ".viz" / "kedro_pipeline_events.json").read_text())
    nodes = [event["node"] for event in told if event["event"] == "after_node_run"]
    assert len(nodes) == len(set(nodes)) == 1 + 3 * len(EXPERIMENTS)
    assert told[-1]["event"] == "after_pipeline_run"


def tree(folder: Path) -> dict[str, Any]:
    """What MLflow knows of the newest command's runs, by their names, without times and ids."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = {}
    for run in client.search_runs(experiments):
        metrics = {
            name: value
            for name, value in run.data.metrics.items()
            if not any(part in name for part in TIMES)
        }
        name = (run.data.tags.get("mlflow.runName"), "mlflow.parentRunId" in run.data.tags)
        tags = sorted(tag for tag in run.data.tags if not tag.startswith("mlflow."))
        histories = {
            metric: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, metric)]
            for metric in metrics
        }
        found[name] = (run.info.status, sorted(run.data.params), tags, histories)
    return found


@pytest.mark.stress
@pytest.mark.parametrize("spread", ["auto", "inside"])
def test_catalog_and_mlflow_are_those_of_a_run_without_workers(tmp_path: Path, spread: str) -> None:
    """With slices, which several workers can share."""
    alone, beside = (make_project(tmp_path / name / "dpok-pipeline") for name in ("one", "two"))
    finish(start(alone, *SLICES))
    process = start(beside, "--workers", "2", "--runner-params", f"spread={spread}", *SLICES)
    signal_a_worker(process, beside, signal.SIGKILL)
    assert "signal 9" in finish(process)
    assert_same(alone, beside)


def assert_same(alone: Path, beside: Path) -> None:
    """Compare what two runs have left: names, bytes and MLflow's runs."""
    ours, theirs = (outputs(folder, version_of(folder)) for folder in (alone, beside))
    assert ours.keys() == theirs.keys()
    same = [name for name in ours if name.endswith((WEIGHTS, "/images/shard-00000.parquet"))]
    assert len(same) >= 5 * len(EXPERIMENTS)
    for name in same:
        assert ours[name].read_bytes() == theirs[name].read_bytes(), name
    runs = tree(alone), tree(beside)
    assert runs[0].keys() == runs[1].keys()
    for name, run in runs[0].items():
        assert run == runs[1][name], name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without workers, with slices."""
    folder = make_project(tmp_path_factory.mktemp("undisturbed") / "dpok-pipeline")
    finish(start(folder, *SLICES))
    return folder


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_twenty_workers_killed_at_random_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "dpok-pipeline")
    process = start(folder, "--workers", "2", "--runner-params", "restarts=20", *SLICES)
    source, kills, seen = random.Random(0), 0, 0
    while kills < 20 and process.poll() is None:
        time.sleep(source.uniform(0, 1.5))
        # Two nodes more are done: workers are at work, and no node is begun in vain for ever.
        if (done := nodes_done(folder)) >= seen + 2:
            seen = done
            os.kill(source.choice(workers_of(process.pid)), signal.SIGKILL)
            kills += 1
    output = finish(process)
    assert kills == 20
    # A worker that is killed while it has nothing to do is replaced without a word.
    deaths = re.findall(r"^(.*): worker \d has died", output, re.MULTILINE)
    assert len(deaths) >= 10, output
    assert len(set(deaths)) > 5, output
    assert_same(undisturbed, folder)


@pytest.mark.stress
def test_a_worker_that_is_frozen_changes_nothing(undisturbed: Path, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "dpok-pipeline")
    process = start(folder, "--workers", "2", "--runner-params", "timeout=5", *SLICES)
    signal_a_worker(process, folder, signal.SIGSTOP)
    assert "was not heard of for 5 s, and killed" in finish(process)
    assert_same(undisturbed, folder)


@pytest.mark.stress
def test_a_command_that_is_killed_leaves_no_worker_and_goes_on(
    undisturbed: Path, tmp_path: Path
) -> None:
    folder = make_project(tmp_path / "dpok-pipeline")
    arguments = ("--workers", "2", *SLICES)
    process = start(folder, *arguments)
    signal_a_worker(process, folder, 0)
    workers = workers_of(process.pid)
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    finish(start(folder, *arguments))
    assert_same(undisturbed, folder)
