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


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project in which two workers have run everything, and what the command said."""
    folder = make_project(tmp_path_factory.mktemp("workers") / "dpok-pipeline")
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "smoke", "--workers", "2"],
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
    until = time.monotonic() + 120
    while not [*folder.glob("data/smoke/06_models/work/**/train_*/checkpoints/*")]:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return folder, output


def outputs(folder: Path, version: str) -> dict[str, Path]:
    """The files of one run's version, by their paths without it."""
    root = folder / "data" / "smoke"
    return {
        path.relative_to(root).as_posix().replace(version, "VERSION"): path
        for path in versions(folder, "smoke")
        if version in path.parts
    }


def test_catalog_and_bytes_are_those_of_a_run_without_workers(
    beside: tuple[Path, str], finished: Outcome, project: Path
) -> None:
    folder, output = beside
    assert "signal 9" in output
    reports = [re.findall(r"08_reporting/report.html/([^/]+)/", said)[-1]
               for said in (finished.log, output)]  # fmt: skip
    ours, theirs = outputs(project, reports[0]), outputs(folder, reports[1])
    assert ours.keys() == theirs.keys()
    images = [name for name in ours if name.endswith(".parquet") and "/images/" in name]
    samples = [name for name in ours if "sft_samples" in name and name.endswith(".parquet")]
    loras = [name for name in ours if name.endswith(WEIGHTS)]
    assert len(loras) == 2 * len(EXPERIMENTS)
    assert len(images) >= 3 * len(EXPERIMENTS)
    assert len(samples) >= len(EXPERIMENTS)
    for name in (*loras, *images, *samples):
        assert ours[name].read_bytes() == theirs[name].read_bytes(), name


def tree(folder: Path, env: str) -> dict[str, Any]:
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
def test_mlflow_has_the_same_runs(beside: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = beside
    alone = make_project(tmp_path / "dpok-pipeline")
    subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env", "smoke"],
        cwd=alone,
        check=True,
        capture_output=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
            "KEDRO_LOGGING_CONFIG": "",
            "MLFLOW_TRACKING_URI": "",
        },
    )
    ours, theirs = tree(alone, "smoke"), tree(folder, "smoke")
    assert ours.keys() == theirs.keys()
    for name, run in ours.items():
        assert run == theirs[name], name
