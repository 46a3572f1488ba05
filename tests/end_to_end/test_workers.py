"""`kedro run --workers 2`, one of whose workers is killed: what it leaves, beside a run without."""

from __future__ import annotations

import os
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
from tests.project import EXPERIMENTS, ROOT, make_project

pytestmark = pytest.mark.xdist_group("whole run")

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
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
            "KEDRO_LOGGING_CONFIG": "",
            "MLFLOW_TRACKING_URI": "",
        },
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a command; return what it said."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_a_worker(process: subprocess.Popen[str], folder: Path) -> None:
    """Kill one of the workers once a training has a checkpoint."""
    until = time.monotonic() + 120
    while not [*folder.glob("data/smoke/06_models/work/**/train_*/checkpoints/*")]:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)


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


def test_loras_and_samples_are_those_of_a_run_without_workers(
    finished: Outcome, project: Path, tmp_path: Path
) -> None:
    """Although one of the workers is killed on the way."""
    folder = make_project(tmp_path / "dpok-pipeline")
    pipelines = "prompt_preparation,sample_generation,sft_training,rl_training"
    process = start(folder, "--workers", "2", "--pipelines", pipelines)
    kill_a_worker(process, folder)
    assert "signal 9" in finish(process)
    report = re.findall(r"08_reporting/report.html/([^/]+)/", finished.log)[-1]
    ours, theirs = outputs(project, report), outputs(folder, version_of(folder))
    loras = [name for name in ours if name.endswith(WEIGHTS)]
    samples = [name for name in ours if "sft_samples" in name and name.endswith(".parquet")]
    assert len(loras) == 2 * len(EXPERIMENTS)
    assert len(samples) >= len(EXPERIMENTS)
    for name in (*loras, *samples):
        assert ours[name].read_bytes() == theirs[name].read_bytes(), name


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
    slices = ("--params", "rl_training.slices=2,sft_training.slices=2")
    alone, beside = (make_project(tmp_path / name / "dpok-pipeline") for name in ("one", "two"))
    finish(start(alone, *slices))
    process = start(beside, "--workers", "2", "--runner-params", f"spread={spread}", *slices)
    kill_a_worker(process, beside)
    assert "signal 9" in finish(process)
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
