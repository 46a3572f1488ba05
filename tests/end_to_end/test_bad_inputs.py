"""Each bad input of a user: one clear line, a non-zero exit, nothing half-written.

Most are rows of `bad_inputs.yml`. What Kedro is needed for goes through its command line in this
process; files and folders go to the datasets that read them, below the same last handler.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from tests.end_to_end.conftest import Command, Outcome, error_of, versions
from tests.opened import opening
from tests.project import write_world

pytestmark = pytest.mark.xdist_group("whole run")

Environment = Callable[..., str]
Row = dict[str, Any]

TABLE: dict[str, list[Row]] = yaml.safe_load(Path(__file__).with_name("bad_inputs.yml").read_text())
MODEL = "{type: dpok_pipeline.datasets.models.BaseModelDataset, path: %s}"
REWARD = "{type: dpok_pipeline.datasets.models.ScorerDataset, kind: %s}"
SCORERS = "{type: dpok_pipeline.datasets.models.ScorersDataset, scorers: %s}"


def rows(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", TABLE[group], ids=[row["says"] for row in TABLE[group]])


class Trap:
    """What a pickle may do to whoever opens it."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sprung),)


def damage(folder: Path, row: Row) -> None:
    """Do to a folder's files what a row says."""
    for step in row.get("damage", []):
        path = folder / next(iter(step.values()))
        content = path.read_bytes() if path.is_file() else b""
        if "remove" in step and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif "truncate" in step:
            path.write_bytes(content[:-50])
        elif "empty" in step:
            path.write_bytes(b"")
        elif "flip" in step:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        elif "pickle" in step:
            path.write_bytes(pickle.dumps(Trap(folder / "sprung"), protocol=2))
        elif "write" in step:
            path.write_text(step["text"])
        elif "json" in step:
            path.write_text(json.dumps(json.loads(content) | step["set"]))
        elif "tensors" in step:
            change_tensors(path, step)


def change_tensors(path: Path, step: Row) -> None:
    """Take away, rename or reshape the first tensor whose name holds a word."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    verb = next(verb for verb in ("drop", "rename", "halve", "spoil") if verb in step)
    name = next(name for name in sorted(tensors) if step[verb] in name)
    tensor = tensors.pop(name)
    if verb == "rename":
        tensors[f"{name}.old"] = tensor
    elif verb == "halve":
        tensors[name] = tensor[: len(tensor) // 2].clone()
    elif verb == "spoil":
        tensors[name] = tensor * float("nan")
    save_file(tensors, path)


def make(path: Path, row: Row) -> None:
    """Put at a path what a row says."""
    if "link" in row:
        path.symlink_to(row["link"])
    elif row.get("folder"):
        path.mkdir()
    elif row.get("pipe"):
        os.mkfifo(path)
    else:
        path.write_bytes(row.get("bytes") or row["text"].encode())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(row: Row, folder: Path, check: Callable[[], object]) -> None:
    """Check that a row ends as it says, below the handler that all commands share."""
    from dpok_pipeline.commands.errors import one_line_errors

    @click.command()
    def command() -> None:
        with one_line_errors():
            check()

    before = contents(folder)
    result = CliRunner().invoke(command)
    outcome = Outcome(result.exit_code, result.output, result.stderr, "", result.exception)
    assert row["says"] in error_of(outcome)
    assert contents(folder) == before


def test_the_table_has_sixty_rows_and_none_twice() -> None:
    every = [str(row) for group in TABLE.values() for row in group]
    assert len(every) >= 60
    assert len(set(every)) == len(every)


@rows("commands")
def test_a_bad_command_line(kedro_run: Command, project: Path, row: Row) -> None:
    before = versions(project, "smoke")
    assert row["says"] in error_of(kedro_run(*row["options"]))
    assert versions(project, "smoke") == before


@rows("configurations")
def test_a_bad_configuration(kedro_run: Command, project: Path, row: Row) -> None:
    file = project / "conf" / "local" / row["file"]
    make(file, row)
    before = contents(project / "data")
    try:
        result = kedro_run("--pipelines", "prompt_preparation", env="local")
    finally:
        file.rmdir() if row.get("folder") else file.unlink()
    assert row["says"] in error_of(result)
    assert contents(project / "data") == before


@rows("prompts")
def test_bad_prompts(tiny_model_folder: Path, tmp_path: Path, row: Row) -> None:
    from dpok_pipeline.datasets.prompts.sources import PromptSourcesDataset
    from dpok_pipeline.diffusion.base_model import describe_base_model
    from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts

    path = tmp_path / "mine.txt"
    if "text" in row or "bytes" in row:
        path.write_bytes(row.get("bytes") or row["text"].encode())
    source = {"path": str(path), "format": row.get("format", "text")}
    source["experiment"] = row.get("experiment", "color")
    dataset = PromptSourcesDataset(sources={"mine": source})
    model = describe_base_model(tiny_model_folder)
    refused(row, tmp_path, lambda: prepare_prompts(dataset.load(), model))


@rows("models")
def test_a_bad_base_model(tiny_model_folder: Path, tmp_path: Path, row: Row) -> None:
    from dpok_pipeline.datasets.models import BaseModelDataset

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    damage(folder, row)
    given = {"hub_id": row["hub_id"]} if "hub_id" in row else {"path": str(folder)}
    refused(row, tmp_path, opening(base_model=BaseModelDataset(**given)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorers") / "world"
    write_world(folder)
    return folder


@rows("rewards")
def test_a_bad_scorer(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    from dpok_pipeline.datasets.models import ScorerDataset

    if "module" in row:
        (tmp_path / "careless.py").write_text(row["module"])
        monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    damage(folder, row)
    given = row["given"] | (
        {"path": str(folder / row["given"]["path"])} if "path" in row["given"] else {}
    )
    refused(row, tmp_path, opening(reward_model=ScorerDataset(**given)))
    assert not (folder / "sprung").exists()


@rows("clips")
def test_a_bad_clip(world: Path, tmp_path: Path, row: Row) -> None:
    from dpok_pipeline.datasets.models import ModelFolderDataset

    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    damage(folder / "clip", row)
    if "instead" in row:
        shutil.rmtree(folder / "clip")
        (folder / row["instead"]).rename(folder / "clip")
    refused(row, tmp_path, opening(embedder=ModelFolderDataset(path=str(folder / "clip"))))


@rows("folders")
def test_a_damaged_folder(tmp_path: Path, row: Row) -> None:
    from dpok_pipeline.files.manifest import check_folder as check
    from dpok_pipeline.files.manifest import copy_sealed

    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "weights").write_bytes(bytes(range(100)))
    copy_sealed(tmp_path / "source", tmp_path / "made", {})
    damage(tmp_path / "made", row)
    refused(row, tmp_path, lambda: check(tmp_path / "made"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--params", "rl_training.ratio_clip=-1"], "rl_training.ratio_clip is -1"),
        (["--pipelines", "rl_training", "--env", "bare2"], "prompts has not been made yet"),
    ],
)
def test_a_real_process_ends_the_same_way(
    project: Path, environment: Environment, options: list[str], says: str
) -> None:
    if "bare2" in options:
        environment("bare2")
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "run", *options],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert says in line
    assert "Traceback" not in result.stdout + result.stderr
    assert versions(project, "bare2") == []


def test_a_device_that_is_not_there() -> None:
    import torch

    from dpok_pipeline.errors import InputError
    from dpok_pipeline.pipelines.models import ComputeConfig

    if torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(InputError, match="compute.device is mps, which torch does not find here"):
        ComputeConfig(device="mps").torch_device()


def test_a_version_that_is_not_there(kedro_run: Command, environment: Environment) -> None:
    version = "2020-01-01T00.00.00.000Z"
    chosen = ("--pipelines", "rl_training", "--load-versions", f"prompts:{version}")
    line = error_of(kedro_run(*chosen, env=environment("versions")))
    assert f"--load-versions prompts:{version}: no such version" in line


def test_what_has_not_been_made_yet(kedro_run: Command, environment: Environment) -> None:
    env = environment("bare")
    line = error_of(kedro_run("--pipelines", "rl_training", env=env))
    assert "prompts has not been made yet: run prompt_preparation first" in line
    assert "`kedro run --pipelines prompt_preparation --env bare`" in line


def test_samples_that_no_policy_could_follow_are_not_drawn(
    kedro_run: Command, environment: Environment, project: Path
) -> None:
    """DPOK's policy needs randomness; all of SFT's images were drawn before it said so."""
    env = environment("eta")
    assert kedro_run("--pipelines", "prompt_preparation", env=env).exit_code == 0
    before = versions(project, env)
    result = kedro_run("--pipelines", "sample_generation", "--params", "sampling.eta=0", env=env)
    assert "color.dpok: sampling: eta is 0" in error_of(result)
    assert versions(project, env) == before


def test_prompts_of_the_future_are_not_trained_on(
    kedro_run: Command, environment: Environment, project: Path
) -> None:
    env = environment("future")
    assert kedro_run("--pipelines", "prompt_preparation", env=env).exit_code == 0
    (made,) = (project / "data" / env / "03_primary" / "prompts.parquet").iterdir()
    future = made.rename(made.with_name("2999-01-01T00.00.00.000Z"))
    before = versions(project, env)
    for pipelines in ("prompt_preparation", "rl_training", "prompt_preparation,rl_training"):
        result = kedro_run("--pipelines", pipelines, env=env)
        assert f"{future}: later than now" in error_of(result)
    assert versions(project, env) == before


def test_an_unknown_environment(kedro_run: Command) -> None:
    assert "no such environment" in error_of(kedro_run(env="smok"))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tests.project.NotANumber", "no finite score"),
        ("image_rewrd", "image_rewrd"),
        pytest.param("tests.project.WrongShape", "shape", marks=pytest.mark.stress),
        pytest.param("tests.project.NoSuchScorer", "NoSuchScorer", marks=pytest.mark.stress),
    ],
)
def test_a_bad_reward(
    kedro_run: Command, environment: Environment, project: Path, kind: str, expected: str
) -> None:
    scorers = SCORERS % f"{{reward: {{kind: {kind}}}}}"
    env = environment(f"reward-{kind}", reward_model=REWARD % kind, scorers=scorers)
    assert kedro_run("--pipelines", "prompt_preparation", env=env).exit_code == 0
    before = versions(project, env)
    for pipeline in ("rl_training", "sample_generation"):
        result = kedro_run("--pipelines", pipeline, "--namespaces", "color", env=env)
        assert expected in error_of(result)
    finished = [path for path in versions(project, env) if "/work/" not in path.as_posix()]
    assert finished == before


def test_a_misspelt_field_of_a_scorer(kedro_run: Command, environment: Environment) -> None:
    env = environment("reward-field", reward_model=REWARD % "image_reward, pth: x")
    assert kedro_run("--pipelines", "prompt_preparation", env=env).exit_code == 0
    result = kedro_run("--pipelines", "rl_training", "--namespaces", "color", env=env)
    assert "reward_model.pth" in error_of(result)


def test_a_command_started_with_traceback_shows_it(kedro_run: Command) -> None:
    result = kedro_run("--namespaces", "colour", "--traceback")
    assert result.exit_code == 1
    assert result.exception is not None
    assert "no such experiment" in str(result.exception)


@pytest.mark.parametrize("entry", ["image_reward", "aesthetic"])
def test_a_broken_scorer_is_found_before_anything_runs(
    kedro_run: Command, project: Path, entry: str
) -> None:
    """Evaluation opens the scorers last; nobody should wait for training to hear of them."""
    folder = project / "data" / "01_raw" / "emoji_world" / entry
    weights = next(folder.glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-50])
    result = kedro_run()
    weights.write_bytes(content)
    assert weights.name in error_of(result)
    assert "[1/" not in result.log
