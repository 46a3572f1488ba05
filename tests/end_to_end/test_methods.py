"""A method added by YAML alone after a finished run: its own cost, and its place everywhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from mlflow import MlflowClient

from tests.end_to_end.conftest import Command, error_of, versions

pytestmark = pytest.mark.xdist_group("methods")

ENV = "added"
NEW = "dpok_no_kl"
METHODS = f"""\
methods:
  {NEW}: {{like: dpok, label: "DPOK without KL", rl_training: {{kl_weight: 0.0}}}}
"""
CLAIM = f"""\
comparison:
  contrasts: [[dpok, {NEW}]]
  claims:
    kl_helps:
      statement: "The KL term keeps the aesthetic score up."
      metric: aesthetic
      split: train
      better: dpok
      worse: {NEW}
"""


@pytest.fixture(scope="module")
def added(
    project: Path, kedro_run: Command, environment: Callable[..., str]
) -> tuple[str, dict[Path, bytes]]:
    """An environment in which a whole run has finished and a method was then added and run.

    What the second command said, and what the first had left.
    """
    folder = project / "conf" / environment(ENV)
    (folder / "experiments.yml").write_text("experiments: [color]\n")
    # Its runs are not to be taken for those of the whole run, which other tests look at.
    (folder / "mlflow.yml").write_text(f"experiment_name: {ENV}\n")
    assert kedro_run(env=ENV).exit_code == 0
    before = {path: path.read_bytes() for path in versions(project, ENV)}
    (folder / "methods.yml").write_text(METHODS)
    (folder / "parameters_comparison.yml").write_text(CLAIM)
    result = kedro_run("--methods", NEW, env=ENV)
    assert result.exit_code == 0, result.output
    return result.log, before


def announced(log: str) -> list[str]:
    """What ran, by the lines that announce each node."""
    return re.findall(r"^\[\d+/\d+\] (.*?) \(elapsed", log, flags=re.MULTILINE)


def test_no_other_method_is_computed_again(added: tuple[str, dict[Path, bytes]]) -> None:
    ran = announced(added[0])
    own = ("train online lora", "draw method images", "score images")
    anew = ("compare methods", "draw figures", "draw contact sheets", "describe making")
    anew += ("gather report parts", "write report", "choose study sets")
    joint = {"compare experiments", "make study page", "count votes", "write joint report"}
    expected = {f"color.{NEW}: {what}" for what in own}
    expected |= {f"color: {what}" for what in anew}
    assert set(ran) == expected | joint
    assert len(ran) == len(expected) + len(joint)


def test_what_was_there_is_as_it_was(added: tuple[str, dict[Path, bytes]], project: Path) -> None:
    _, before = added
    kept = {path: content for path, content in before.items() if "/work/" not in path.as_posix()}
    assert {path: path.read_bytes() for path in kept} == kept


def test_it_is_in_every_table_figure_claim_and_report(
    added: tuple[str, dict[Path, bytes]], project: Path
) -> None:
    with KedroSession.create(project, env=ENV) as session:
        catalog = session.load_context().catalog
        for name in ("color.", ""):
            comparison = catalog.load(f"{name}comparison")
            assert {NEW, f"{NEW} - base", f"dpok - {NEW}"} <= set(comparison["quantity"])
            claims = catalog.load(f"{name}claims")
            assert "kl_helps" in set(claims["claim"])
            assert "DPOK without KL" in catalog.load(f"{name}report")
        for figure in ("reward_bars", "learning_curves", "reward_against_kl"):
            assert "DPOK without KL" in str(catalog.load(f"color.{figure}").to_json())
        card = (catalog.load(f"color.{NEW}.lora") / "README.md").read_text()
    assert "| method | DPOK without KL |" in card
    assert "| kl weight | 0 |" in card


def test_it_has_its_runs_in_mlflow(added: tuple[str, dict[Path, bytes]], project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(ENV)
    runs = client.search_runs([experiment.experiment_id], f"tags.method = '{NEW}'")
    assert {run.info.run_name for run in runs} == {f"color {NEW}"}
    for run in runs:
        assert run.data.params["method.training.kl_weight"] == "0.0"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("sampling.ddim_steps=7", "sampling.ddim_steps was 8 and is 7"),
        pytest.param("evaluation.seed=5", "seed was 20230525 and is 5", marks=pytest.mark.stress),
        pytest.param(
            "evaluation.images_per_prompt=5",
            "images_per_prompt was 12 and is 5",
            marks=pytest.mark.stress,
        ),
    ],
)
def test_other_settings_are_refused_before_any_work(
    added: tuple[str, dict[Path, bytes]], kedro_run: Command, project: Path, option: str, said: str
) -> None:
    before = versions(project, ENV)
    line = error_of(kedro_run("--methods", NEW, "--params", option, env=ENV))
    assert ".base.images: made with other inputs: " in line
    assert said in line
    assert versions(project, ENV) == before


def test_other_prompts_scorers_and_base_models_are_refused(
    added: tuple[str, dict[Path, bytes]], kedro_run: Command, project: Path
) -> None:
    world = project / "data" / "01_raw" / "emoji_world"
    scorer = world / "aesthetic" / "head.safetensors"
    whole = scorer.read_bytes()
    scorer.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    line = error_of(kedro_run("--methods", NEW, env=ENV))
    scorer.write_bytes(whole)
    assert ".scores: made with other inputs: scorers.aesthetic.files was" in line
    other_clip = world / "clip" / "README.md"
    other_clip.write_text("another CLIP\n")
    assert "made with other inputs: embedder was" in error_of(kedro_run("--methods", NEW, env=ENV))
    other_clip.unlink()
    config = world / "base_model" / "tokenizer" / "special_tokens_map.json"
    text = config.read_text() if config.is_file() else None
    config.write_text("{}\n" if text != "{}\n" else "{ }\n")
    line = error_of(kedro_run("--methods", NEW, env=ENV))
    if text is None:
        config.unlink()
    else:
        config.write_text(text)
    assert "base_model was" in line


def test_a_method_that_is_not_listed_is_answered_with_those_that_are(
    kedro_run: Command, added: tuple[str, dict[Path, bytes]]
) -> None:
    line = error_of(kedro_run("--methods", "dpo", env=ENV))
    assert line == f"Error: --methods dpo: no such method; there are sft, dpok, {NEW}"
    assert "exclude each other" in error_of(kedro_run("--methods", NEW, "--tags", "x", env=ENV))


def test_a_method_in_the_way_of_a_dataset_is_refused(kedro_run: Command, project: Path) -> None:
    folder = project / "conf" / "taken"
    shutil.copytree(project / "conf" / "smoke", folder)
    (folder / "methods.yml").write_text("methods: {claims: {like: dpok}}\n")
    assert "methods has 'claims': the name is used" in error_of(kedro_run(env="taken"))
