"""A crashed run is continued by the same command: real processes, really killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.forked import start_kedro
from tests.project import make_project

pytestmark = pytest.mark.xdist_group("processes")

ARGUMENTS = ("--pipelines", "prompt_preparation,rl_training")
JOURNAL = "data/smoke/06_models/work/runs/smoke/prompt_preparation+rl_training.json"


def start(project: Path, *arguments: str) -> BaseProcess:
    """Start the command in a process of its own, whose output goes beside the project."""
    command = ("run", "--env", "smoke", *ARGUMENTS, *arguments)
    # MLflow leaves the store of this process's sessions in the environment.
    nothing = {"KEDRO_LOGGING_CONFIG": "", "MLFLOW_TRACKING_URI": ""}
    return start_kedro(said(project), project, *command, **nothing)


def said(project: Path) -> Path:
    return project.with_name("said.txt")


def finish(process: BaseProcess, project: Path) -> tuple[int | None, str]:
    """Wait for a process; return its exit status and all that it has said."""
    process.join()
    return process.exitcode, said(project).read_text()


def kill_when(process: BaseProcess, project: Path, due: Callable[[Path], bool]) -> None:
    """Kill a process with -9 as soon as something is true of its project."""
    until = time.monotonic() + 120
    while not due(project):
        assert process.exitcode is None, said(project).read_text()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.join()


def done(project: Path) -> list[str]:
    try:
        return list(json.loads((project / JOURNAL).read_text())["done"])
    except FileNotFoundError:
        return []


def saved_versions(project: Path) -> dict[str, list[str]]:
    """Every versioned output and its versions."""
    found: dict[str, list[str]] = {}
    for folder in (project / "data" / "smoke").glob("*/**/*T*Z"):
        found.setdefault(folder.parent.name, []).append(folder.name)
    return found


def amid_training(project: Path) -> bool:
    """Whether two trainings are done and a third has its first checkpoint."""
    if len(done(project)) != 3:
        return False
    checkpoints = (project / "data" / "smoke").glob(
        "06_models/work/seed_*/*/dpok/train_online_lora/checkpoints/*"
    )
    started = {path.parents[3].name for path in checkpoints if path.suffix != ".partial"}
    return len(started) == 3


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A project whose run was killed in the third of four trainings; the nodes that were done."""
    project = make_project(tmp_path_factory.mktemp("crashed") / "dpok-pipeline")
    kill_when(start(project), project, amid_training)
    return project, done(project)


def runs(project: Path) -> list[Run]:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dpok_pipeline_smoke")
    return list(client.search_runs([experiment.experiment_id]))


@pytest.fixture(scope="module")
def refused(crashed: tuple[Path, list[str]]) -> str:
    """What the command said when it was given with another parameter."""
    process = start(crashed[0], "--params", "rl_training.kl_weight=0.5")
    status, output = finish(process, crashed[0])
    assert status == 1, output
    return output


@pytest.fixture(scope="module")
def continued(crashed: tuple[Path, list[str]], refused: str) -> str:
    """What the same command said when it was given again."""
    status, output = finish(start(crashed[0]), crashed[0])
    assert status == 0, output
    return output


def test_other_parameters_are_refused_in_one_line(refused: str) -> None:
    (line,) = [line for line in refused.splitlines() if line.startswith("Error: ")]
    assert "3 of 5 nodes of the interrupted run" in line
    assert "methods.dpok.training.kl_weight was 0.01 and is 0.5" in line
    assert "--params resume=never" in line


def test_finished_nodes_are_not_run_again(crashed: tuple[Path, list[str]], continued: str) -> None:
    assert crashed[1][0] == "prepare_prompts_node"
    assert ": 3 of 5 nodes are done" in continued
    assert "[4/5] " in continued
    assert "[5/5] " in continued
    assert "[3/5] " not in continued
    assert "prepare prompts" not in continued


def test_all_outputs_carry_the_crashed_runs_version(
    crashed: tuple[Path, list[str]], continued: str
) -> None:
    found = saved_versions(crashed[0])
    assert set(found) == {"prompts.parquet", "lora", "curves.parquet", "filmstrip.parquet"}
    assert len({version for versions in found.values() for version in versions}) == 1
    assert len(found["lora"]) == 4


def test_parent_and_children_are_one_each_and_no_step_is_doubled(
    crashed: tuple[Path, list[str]], continued: str
) -> None:
    project = crashed[0]
    found = runs(project)
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert {run.info.status for run in found} == {"FINISHED"}
    children = [run for run in found if run is not parents[0]]
    names = sorted(run.info.run_name for run in children)
    assert names == ["color dpok", "composition dpok", "count dpok", "location dpok"]
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    for child in children:
        history = client.get_metric_history(child.info.run_id, "reward/mean")
        assert sorted(point.step for point in history) == sorted({p.step for p in history})
        assert len(history) == 2


def test_after_a_success_the_next_run_starts_fresh(
    crashed: tuple[Path, list[str]], continued: str
) -> None:
    assert not (crashed[0] / JOURNAL).exists()
    assert not list(crashed[0].rglob("*.lock"))
