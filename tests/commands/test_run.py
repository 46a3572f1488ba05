"""How `kedro run` and its siblings answer options that cannot work together or at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from dpok_pipeline.cli import cli
from dpok_pipeline.commands import options

ROOT = Path(__file__).parents[2]
Answer = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's configuration without its data, and two environments with one method each."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src").mkdir()
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for env, dropped in (("online", "sft"), ("offline", "dpok")):
        (tmp_path / "conf" / env).mkdir()
        (tmp_path / "conf" / env / "methods.yml").write_text(f"methods: {{{dropped}: null}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


@pytest.fixture
def answer(project: Path) -> Answer:
    """The last line that a command ends with."""
    metadata = bootstrap_project(project)

    def answer(*arguments: str, command: str = "run") -> str:
        result = CliRunner().invoke(cli, [command, *arguments], obj=metadata)
        assert result.exit_code == 1, result.output
        return result.stderr.splitlines()[-1]

    return answer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--env", "online", "--pipelines", "sft_training"),
            "for --pipelines sft_training: none of the methods (dpok) learns from stored samples",
        ),
        (
            ("--env", "offline", "--pipelines", "rl_training"),
            "for --pipelines rl_training: none of the methods (sft) draws images while it learns",
        ),
        (
            ("--methods", "dpok", "--pipelines", "sft_training"),
            "for --pipelines sft_training --methods dpok: none of the methods (dpok) learns",
        ),
        (
            ("--methods", "sft", "--namespaces", "color.dpok"),
            "for --methods sft --namespaces color.dpok: leave one of these options out",
        ),
        (("--tags", "nope"), "for --tags nope: leave one of these options out, or correct it"),
    ],
)
def test_options_that_leave_no_node_are_named(
    answer: Answer, options: tuple[str, ...], said: str
) -> None:
    assert f"Error: Pipeline contains no nodes {said}" in answer(*options)


@pytest.mark.parametrize("runner", ["ThreadRunner", "ParallelRunner", "kedro.runner.ThreadRunner"])
def test_a_runner_of_several_nodes_at_a_time_is_refused(answer: Answer, runner: str) -> None:
    """Two nodes would share one open model, and each would draw with the other's LoRA."""
    assert f"--runner {runner}: nodes share the open models" in answer("--runner", runner)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workers", "0"), "--workers 0: give a number of processes from 1 to 256"),
        (("--workers", "-2"), "--workers -2: give a number of processes"),
        (("--workers", "1000"), "--workers 1000: give a number of processes"),
        (("--workers", "two"), "'--workers'"),
        (("--workers", "2", "--runner", "SequentialRunner"), "--workers and --runner exclude"),
        (("--workers", "2", "--runner-params", "spread=all"), "spread is all"),
        (("--workers", "2", "--runner-params", "threads=0"), "threads and timeout are above 0"),
        (("--workers", "2", "--runner-params", "speed=9"), "speed"),
        (("--workers", "2", "--address", "ray://host:10001"), "Ray's client cannot place workers"),
        (("--workers", "2", "--address", "host"), "--address host: give HOST:PORT"),
        (("--address", "host:6379"), "--address host:6379: give --workers too"),
    ],
)
def test_workers_that_cannot_be_started_are_refused(
    answer: Answer, options: tuple[str, ...], said: str
) -> None:
    assert said in answer(*options)


def test_claims_refuses_workers_that_cannot_be_started(answer: Answer) -> None:
    assert "--workers 0: give a number" in answer("--workers", "0", command="claims")
    assert "--address local: give --workers" in answer("--address", "local", command="claims")


def test_without_ray_an_address_says_what_to_install(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    assert "make install EXTRAS=ray" in answer("--workers", "2", "--address", "local")


def test_the_environment_variable_of_kedro_chooses_the_methods(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEDRO_ENV", "online")
    assert answer("--methods", "sft") == "Error: --methods sft: no such method; there are dpok"
    assert answer("--env", "offline", "--methods", "dpok").endswith("there are sft")
    monkeypatch.setenv("KEDRO_ENV", "nowhere")
    assert "Error: KEDRO_ENV nowhere: no such environment; there are " in answer()


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("0,0", "--seeds 0,0: give different seeds"),
        ("0, 00", "--seeds 0, 00: give different seeds"),
        ("0,x", "--seeds 0,x: give whole numbers"),
        ("²", "--seeds ²: give whole numbers"),
    ],
)
def test_seeds_are_different_whole_numbers(answer: Answer, seeds: str, said: str) -> None:
    """A seed that counted twice would make the intervals too narrow."""
    assert said in answer("--seeds", seeds, command="claims")
