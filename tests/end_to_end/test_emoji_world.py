"""`kedro run --env smoke` as a user starts it, on the trained EmojiWorld that is in git."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

EXPERIMENTS = ("color",)

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("emoji world")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, with one of its experiments, that reads this one's raw data."""
    folder = tmp_path_factory.mktemp("clone") / "dpok-pipeline"
    (folder / "src").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "data" / "01_raw").symlink_to(ROOT / "data" / "01_raw")
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "conf" / "local").mkdir()
    (folder / "conf" / "smoke" / "experiments.yml").write_text(
        f"experiments: [{', '.join(EXPERIMENTS)}]\n"
    )
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def finished(project: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("kedro"), "run", "--env", "smoke"]
    # MLflow leaves the store of this process's sessions in the environment.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": ""}
    # In a sub-folder: nothing may depend on where a command is started.
    result = subprocess.run(
        command, cwd=project / "conf", env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.mark.slow
def test_the_trained_world_runs_through(
    finished: subprocess.CompletedProcess[str], project: Path
) -> None:
    made = project / "data" / "smoke"
    reports = list(made.glob("08_reporting/*/report.html/*/report.html"))
    assert len(reports) == len(EXPERIMENTS)
    assert list(made.glob("08_reporting/report.html/*/report.html"))
    tables = list(made.glob("07_model_output/*/*/scores.parquet/*/scores.parquet"))
    assert len(tables) == len(EXPERIMENTS) * 3  # base model and methods
    for path in tables:
        scores = pd.read_parquet(path)
        assert scores[["image_reward", "aesthetic", "judge"]].notna().all().all()
        assert scores["image_reward"].std() > 0
        assert set(scores["judge"]) <= {0.0, 1.0}


@pytest.mark.slow
def test_only_the_project_itself_speaks(finished: subprocess.CompletedProcess[str]) -> None:
    odd = [line for line in finished.stderr.splitlines() if "arning" in line or "ERROR" in line]
    assert odd == []
    assert "[1/21] prepare prompts" in finished.stdout
    # What a terminal draws again and again is not in a file.
    assert "\r" not in finished.stdout + finished.stderr


@pytest.mark.slow
def test_nothing_is_written_outside_data_and_mlflows_store(
    finished: subprocess.CompletedProcess[str], project: Path
) -> None:
    expected = {"conf", "data", "mlartifacts", "mlflow.db", "pyproject.toml", "src"}
    expected |= {".telemetry", ".viz"}
    assert {path.name for path in project.iterdir()} == expected
    assert {path.name for path in (project / "data").iterdir()} == {"01_raw", "smoke"}
