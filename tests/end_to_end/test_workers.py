"""`kedro run --workers 2`, one of whose workers is killed: what it leaves, beside a run without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
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


def catalog_of(folder: Path) -> CatalogProtocol:
    bootstrap_project(folder)
    with KedroSession.create(folder, env="smoke") as session:
        return session.load_context().catalog


def test_catalog_and_bytes_are_those_of_a_run_without_workers(
    beside: tuple[Path, str], finished: Outcome, project: Path, catalog: CatalogProtocol
) -> None:
    folder, output = beside
    assert "signal 9" in output
    theirs = catalog_of(folder)
    for experiment in EXPERIMENTS:
        for method in ("sft", "dpok"):
            name = f"{experiment}.{method}"
            loras = [one.load(f"{name}.lora") / WEIGHTS for one in (catalog, theirs)]
            assert loras[0].read_bytes() == loras[1].read_bytes(), name
            scores = [one.load(f"{name}.scores") for one in (catalog, theirs)]
            assert scores[0].drop(columns="recipe").equals(scores[1].drop(columns="recipe")), name
        samples = [one.load(f"{experiment}.sft_samples").frame() for one in (catalog, theirs)]
        assert samples[0].to_json() == samples[1].to_json()
    names = [
        {path.relative_to(root / "data" / "smoke").parts[1:3] for path in versions(root, "smoke")}
        for root in (project, folder)
    ]
    assert names[0] == names[1]
    bootstrap_project(project)


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
