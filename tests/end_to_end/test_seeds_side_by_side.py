"""`kedro claims --workers 2` where one seed has use for one worker: two seeds at a time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.project import make_project, surroundings

pytestmark = [pytest.mark.stress, pytest.mark.xdist_group("seeds")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one experiment and one method."""
    made = make_project(tmp_path / "dpok-pipeline")
    (made / "conf" / "smoke" / "experiments.yml").write_text("experiments: [color]\n")
    (made / "conf" / "smoke" / "methods.yml").write_text("methods: {sft: null}\n")
    return made


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "claims", "--env", "smoke", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=surroundings(),
    )


def processes(folder: Path) -> list[int]:
    """Those that work in a folder."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def checkpoints(folder: Path) -> list[Path]:
    return [*folder.glob("data/smoke/06_models/work/seed_*/**/checkpoints/*")]


def seeds_in_mlflow(folder: Path) -> list[tuple[str, str]]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments)
    found = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return sorted((run.info.run_name.rpartition(", ")[2], run.info.status) for run in found)


def test_two_seeds_at_a_time_end_in_one_comparison(folder: Path) -> None:
    process = start(folder, "--seeds", "0,1,2", "--workers", "2")
    wait_until(lambda: len({path.parts[-6] for path in checkpoints(folder)}) > 1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "Training seeds 0, 1, 2, 2 at a time" in output
    assert re.search(r"^seed 2: ", output, re.MULTILINE)
    assert seeds_in_mlflow(folder) == [(f"seed {seed}", "FINISHED") for seed in range(3)]
    page = next(folder.glob("data/smoke/08_reporting/all_seeds/report.html/*/report.html"))
    assert "3 training seeds" in page.read_text()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_stopped_leaves_no_process_and_goes_on(folder: Path, sent: signal.Signals) -> None:
    process = start(folder, "--seeds", "0,1", "--workers", "2")
    wait_until(lambda: checkpoints(folder))
    process.send_signal(sent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (128 + sent if sent == signal.SIGTERM else -sent), output
    wait_until(lambda: not processes(folder), seconds=30)
    again = start(folder, "--seeds", "0,1", "--workers", "2")
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert seeds_in_mlflow(folder) == [("seed 0", "FINISHED"), ("seed 1", "FINISHED")]


def test_a_seed_that_fails_stops_the_others_in_one_line(folder: Path) -> None:
    process = start(folder, "--seeds", "0,1", "--workers", "2")
    wait_until(lambda: checkpoints(folder))
    work = folder / "data" / "smoke" / "06_models" / "work"
    victims = [pid for pid in processes(folder) if pid != process.pid]
    parents = [pid for pid in victims if "guarded" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(parents[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert re.search(r"Error: training seed [01]: its run has failed", output), output
    wait_until(lambda: not processes(folder), seconds=30)
    assert work.is_dir()
