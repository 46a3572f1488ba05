"""Each bad input of a user: one clear line, a non-zero exit, nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Command, error_of, versions

pytestmark = pytest.mark.xdist_group("whole run")

Environment = Callable[..., str]

PROMPTS = "{type: dpok_pipeline.datasets.prompt_sources.PromptSourcesDataset, sources: {mine: %s}}"
MODEL = "{type: dpok_pipeline.datasets.models.BaseModelDataset, path: %s}"
REWARD = "{type: dpok_pipeline.datasets.models.ScorerDataset, kind: %s}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--namespaces", "colour"], "colour: no such experiment; there are color, composition"),
        (["--pipelines", "rl"], "rl: no such pipeline; there are __default__, evaluation"),
        (["--params", "rl_training.ratio_clip=-1"], "rl_training.ratio_clip is -1"),
        (["--params", "rl_training.ratio_clp=1"], "rl_training.ratio_clp: no such parameter"),
        (["--params", "rl_trainng.ratio_clip=1"], "no such parameter; did you mean rl_training?"),
        (["--params", "lora.rank=none"], "lora.rank is 'none'"),
        (["--params", "sampling.ddim_steps=0"], "sampling.ddim_steps is 0"),
        (["--params", "evaluation.images_per_prompt=1"], "evaluation.images_per_prompt is 1"),
        (["--nodes", "no_such_node"], "no_such_node"),
    ],
)
def test_a_bad_command_line(kedro_run: Command, arguments: list[str], expected: str) -> None:
    assert expected in error_of(kedro_run(*arguments))


def test_what_has_not_been_made_yet(kedro_run: Command, environment: Environment) -> None:
    env = environment("bare")
    line = error_of(kedro_run("--pipelines", "rl_training", env=env))
    assert "prompts has not been made yet: run prompt_preparation first" in line
    assert "`kedro run --pipelines prompt_preparation --env bare`" in line


def test_an_unknown_environment(kedro_run: Command) -> None:
    assert "no such environment" in error_of(kedro_run(env="smok"))


@pytest.mark.parametrize(
    ("name", "content", "format", "expected"),
    [
        ("empty", b"a cat\n\na dog\n", "text", "line 2: the prompt is empty"),
        ("duplicate", b"a cat\na dog\na cat \n", "text", "line 3: duplicate of line 1"),
        ("long", b"a cat\n" + b"a dog " * 40, "text", "line 2: 82 tokens, the base model takes 12"),
        ("unreadable", b"a cat\n\xff\xfe\n", "text", "line 2: not UTF-8"),
        ("notyaml", b"color: [", "experiments", "not valid YAML"),
        ("nothing", b"", "text", "no prompts in any source"),
        ("missing", None, "text", "no such file"),
    ],
)
def test_bad_prompts(
    kedro_run: Command,
    environment: Environment,
    project: Path,
    name: str,
    content: bytes | None,
    format: str,
    expected: str,
) -> None:
    path = project / f"{name}.txt"
    if content is not None:
        path.write_bytes(content)
    source = f"{{path: {path.name}, format: {format}, experiment: color}}"
    env = environment(f"prompts-{name}", prompt_sources=PROMPTS % source)
    line = error_of(kedro_run("--pipelines", "prompt_preparation", env=env))
    assert expected in line
    assert path.name in line or name == "nothing"
    assert versions(project, env) == []


@pytest.mark.parametrize("damage", ["no folder", "no unet", "truncated weights", "no weights"])
def test_a_broken_base_model(
    kedro_run: Command, environment: Environment, project: Path, damage: str
) -> None:
    env = f"model-{damage.replace(' ', '-')}"
    folder = project / "data" / "01_raw" / env
    if damage != "no folder":
        shutil.copytree(project / "data" / "01_raw" / "emoji_world" / "base_model", folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "no unet":
        shutil.rmtree(folder / "unet")
    elif damage == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no weights":
        weights.unlink()
    environment(env, base_model=MODEL % folder.relative_to(project))
    line = error_of(kedro_run("--pipelines", "prompt_preparation", env=env))
    assert env in line
    assert damage in ("no folder",) or "unet" in line
    assert versions(project, env) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tests.project.NotANumber", "no finite score"),
        ("tests.project.WrongShape", "shape"),
        ("tests.project.NoSuchScorer", "NoSuchScorer"),
        ("image_rewrd", "image_rewrd"),
    ],
)
def test_a_bad_reward(
    kedro_run: Command, environment: Environment, project: Path, kind: str, expected: str
) -> None:
    env = environment(f"reward-{kind}", reward_model=REWARD % kind)
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
