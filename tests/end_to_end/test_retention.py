"""`kedro retention` on versions and checkpoints, with MLflow's own database and registry."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient

from dpok_pipeline.files.manifest import MANIFEST as MARKER
from dpok_pipeline.pipelines.mlflow_store import JOURNAL
from dpok_pipeline.runs import retention as retention_module
from dpok_pipeline.runs.journal import Journal
from tests.end_to_end.test_bad_inputs import Environment

pytestmark = pytest.mark.xdist_group("whole run")

DAYS = [f"2026-01-0{day}T12.00.00.000Z" for day in range(1, 7)]
LORA, PROMPTS = "06_models/color/dpok/lora", "03_primary/prompts.parquet"
ENV = "retention"


@pytest.fixture(scope="module")
def client(project: Path) -> MlflowClient:
    bootstrap_project(project)
    return MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture(scope="module")
def data(project: Path, environment: Environment) -> Path:
    return project / "data" / environment(ENV)


@pytest.fixture(autouse=True)
def versions(data: Path) -> None:
    """Six versions of a LoRA and of the prompts, and the state of an interrupted training."""
    for day in DAYS:
        for name in (LORA, PROMPTS):
            folder = data / name / day / Path(name).name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MARKER).write_text("{}")
    checkpoint = data / "06_models/work/count/sft/checkpoints/00000002/tensors.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(bytes(2_500_000))


def retention(project: Path, *arguments: str, answer: str | None = None) -> Result:
    from dpok_pipeline.cli import cli

    command = ["retention", "--env", ENV, *arguments]
    return CliRunner().invoke(cli, command, obj=bootstrap_project(project), input=answer)


def there(data: Path, name: str) -> list[str]:
    return sorted(path.name for path in (data / name).iterdir())


def run_with(client: MlflowClient, **tags: str) -> str:
    experiments = [found.experiment_id for found in client.search_experiments()]
    run = client.create_run(experiments[0], tags={k.replace("__", "."): v for k, v in tags.items()})
    return str(run.info.run_id)


def test_it_lists_and_removes_nothing_by_default(project: Path, data: Path) -> None:
    result = retention(project)
    assert result.exit_code == 0, result.output
    assert "6 could be removed" in result.output
    assert f"{LORA}/{DAYS[0]}" in result.output
    assert f"{LORA}/{DAYS[3]}" not in result.output
    assert "2.5 MB  06_models/work/count/sft  (an interrupted run's state; --work)" in result.output
    assert there(data, LORA) == DAYS


def test_it_asks_before_it_removes(project: Path, data: Path) -> None:
    assert retention(project, "--remove", answer="n\n").exit_code == 0
    assert there(data, LORA) == DAYS
    assert retention(project, "--remove", answer="y\n").exit_code == 0
    assert there(data, LORA) == there(data, PROMPTS) == DAYS[3:]
    assert (data / "06_models/work/count/sft/checkpoints").is_dir()


def test_kept_runs_keep_what_they_read_and_wrote(
    project: Path, data: Path, client: MlflowClient
) -> None:
    names = {"output__color__dpok__lora": DAYS[1], "input__prompts": DAYS[0]}
    run = run_with(client, keep="true", **names)
    run_with(client, keep="false", output__color__dpok__lora=DAYS[0])
    result = retention(project, "--remove", "--yes", "--keep", "1")
    assert result.exit_code == 0, result.output
    assert "has the tag keep=true" in result.output
    assert there(data, LORA) == [DAYS[1], DAYS[5]]
    assert there(data, PROMPTS) == [DAYS[0], DAYS[5]]
    client.delete_tag(run, "keep")
    retention(project, "--remove", "--yes", "--keep", "1")
    assert there(data, LORA) == [DAYS[5]]


def test_an_alias_in_the_registry_keeps_the_models_run(
    project: Path, data: Path, client: MlflowClient
) -> None:
    run = run_with(client, output__color__dpok__lora=DAYS[2], input__prompts=DAYS[1])
    client.create_registered_model("rabbit")
    version = client.create_model_version("rabbit", source=f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("rabbit", "best", version.version)
    result = retention(project, "--remove", "--yes", "--keep", "2")
    assert "model rabbit has the alias best" in result.output
    assert there(data, LORA) == [DAYS[2], *DAYS[4:]]
    assert there(data, PROMPTS) == [DAYS[1], *DAYS[4:]]
    client.delete_registered_model_alias("rabbit", "best")
    retention(project, "--remove", "--yes", "--keep", "2")
    assert there(data, LORA) == DAYS[4:]


def test_interrupted_runs_keep_theirs_unless_given_up(
    project: Path, data: Path, client: MlflowClient
) -> None:
    journal = data / "06_models/work/runs/retention/__default__.json"
    journal.parent.mkdir(parents=True, exist_ok=True)
    interrupted = Journal(version=DAYS[0], identity={}, code="")
    interrupted.write(journal)
    name = "dpok_pipeline_smoke"
    if client.get_experiment_by_name(name) is None:
        client.create_experiment(name, f"file://{project / 'mlartifacts'}")
    experiment = client.get_experiment_by_name(name).experiment_id
    run = client.create_run(experiment, tags={JOURNAL: interrupted.key}).info.run_id
    retention(project, "--remove", "--yes")
    assert there(data, LORA) == [DAYS[0], *DAYS[3:]]
    assert journal.exists()
    assert client.get_run(run).info.status == "RUNNING"
    retention(project, "--remove", "--yes", "--work")
    assert client.get_run(run).info.status == "KILLED"
    assert there(data, LORA) == DAYS[3:]
    assert not journal.exists()
    assert not (data / "06_models/work/count/sft").exists()


def test_unfinished_versions_are_not_counted_and_can_go(project: Path, data: Path) -> None:
    unfinished = data / LORA / "2026-02-01T12.00.00.000Z" / "lora.partial"
    unfinished.mkdir(parents=True)
    retention(project, "--remove", "--yes", "--keep", "1")
    assert there(data, LORA) == [DAYS[5]]


def test_the_note_of_a_whole_run_goes_with_its_version(project: Path, data: Path) -> None:
    notes = data / "06_models/work/runs/finished"
    notes.mkdir(parents=True, exist_ok=True)
    for number in (0, 5):
        (notes / f"{number}.json").write_text(json.dumps({"version": DAYS[number]}))
    retention(project, "--remove", "--yes")
    assert [path.name for path in notes.iterdir()] == ["5.json"]


def test_nothing_is_removed_while_a_run_is_going_on(project: Path, data: Path) -> None:
    folder = data / "06_models/work/runs/retention"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "__default__.lock"):
        result = retention(project, "--remove", "--yes")
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert "a run is going on" in result.stderr
    assert there(data, LORA) == DAYS
    assert retention(project, "--remove", "--yes").exit_code == 0  # the lock of a killed run


@pytest.mark.parametrize(
    "name",
    [
        "count/sft",
        pytest.param("sweeps/dpok_color_1", marks=pytest.mark.stress),
        pytest.param("seed_1/count/dpok/train_rl", marks=pytest.mark.stress),
    ],
)
def test_no_work_is_removed_while_somebody_is_in_a_folder_of_it(
    project: Path, data: Path, name: str
) -> None:
    """A sweep's trials hold the locks of their folders, and none of a run."""
    folder = data / "06_models/work" / name
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    state = folder / "checkpoints" / "state.json"
    state.write_text("{}")
    lock = folder.with_name(f"{folder.name}.lock")
    with FileLock(lock):
        result = retention(project, "--remove", "--yes", "--work")
    assert result.exit_code == 1
    assert f"{lock}: a run is going on; wait until it has ended" in result.stderr
    assert state.exists()
    assert retention(project, "--remove", "--yes", "--work").exit_code == 0
    assert not state.exists()
    assert not lock.exists()


def test_it_lists_work_that_comes_and_goes_meanwhile(
    project: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = data / "06_models/work/count/sft/checkpoints/partial-00000003"
    partial.mkdir()
    real = os.scandir

    def scandir(path: str | os.PathLike[str]) -> object:
        """Let a training remove a folder after it was listed, and before it is looked into."""
        if Path(path) == partial and partial.exists():
            partial.rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = retention(project, "--work")
    assert result.exit_code == 0, result.output
    assert "2.5 MB  06_models/work/count/sft" in result.output
    assert not partial.exists()


def answer_after(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Say yes to the question, after something has happened."""

    def confirm(question: str) -> bool:
        happen()
        return True

    monkeypatch.setattr("dpok_pipeline.cli.click.confirm", confirm)


def test_a_run_that_begins_while_it_asks_stops_it(
    project: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data / "06_models/work/runs/retention"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "__default__.lock")
    answer_after(monkeypatch, lock.acquire)
    result = retention(project, "--remove")
    lock.release()
    assert result.exit_code == 1
    assert "a run is going on" in result.stderr
    assert there(data, LORA) == DAYS


def test_what_changes_while_it_asks_counts(
    project: Path, data: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = data / LORA / "2026-01-07T12.00.00.000Z" / "lora"
    run = run_with(client, output__color__dpok__lora=DAYS[1])

    def happen() -> None:
        client.set_tag(run, "keep", "true")
        shutil.rmtree(data / LORA / DAYS[0])
        newest.mkdir(parents=True)

    answer_after(monkeypatch, happen)
    assert retention(project, "--remove").exit_code == 0
    # The fourth is not among the newest three any more, but nobody was asked about it.
    assert there(data, LORA) == [DAYS[1], *DAYS[3:], newest.parent.name]
    assert there(data, PROMPTS) == DAYS[3:]
    client.delete_tag(run, "keep")
    shutil.rmtree(newest.parent)


def test_what_a_run_finishes_after_it_was_listed_stays(
    project: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = data / LORA / "2026-01-07T12.00.00.000Z"
    newest.mkdir()
    describe = retention_module.describe_plan

    def describe_and_finish(plan: retention_module.Plan) -> list[str]:
        (newest / "lora").mkdir()
        return [*describe(plan)]

    monkeypatch.setattr(retention_module, "describe_plan", describe_and_finish)
    result = retention(project, "--remove", "--yes", "--work")
    assert result.exit_code == 0, result.output
    assert newest.exists()
    shutil.rmtree(newest)


def test_without_an_answer_from_mlflow_nothing_is_removed(
    project: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def unreachable(self, *arguments, **keywords):
        raise MlflowException("no connection\nand a traceback")

    monkeypatch.setattr(MlflowClient, "search_runs", unreachable)
    result = retention(project, "--remove", "--yes")
    assert result.exit_code == 1
    assert "MLflow does not say what to keep (no connection)" in result.stderr
    assert there(data, LORA) == DAYS
