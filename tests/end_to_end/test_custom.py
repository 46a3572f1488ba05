"""Env custom: a small YAML, written by a user, becomes a whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.end_to_end.conftest import Command, Outcome, error_of, versions

pytestmark = pytest.mark.xdist_group("whole run")

WORLD = "data/01_raw/emoji_world"
OWN = f"""\
prompts:
  train: [a cat on the moon, a green dog]
  unseen: {{path: data/01_raw/prompts/mine.csv, format: csv}}
reward: tests.algorithms.support.Brightness
base_model: {WORLD}/base_model
settings: emoji_world
budget: {{images: 7, images_per_iteration: 4, sft_updates: 2, evaluation_images: 3}}
image_reward: {WORLD}/image_reward
clip: {WORLD}/clip
"""

TRAIN = "[a cat on the moon, a green dog]"
EIGHT = "[a, b, c, d, a cat, a dog, a moon, a park]"


@pytest.fixture(scope="module")
def write(project: Path):
    def write_own(text: str) -> None:
        (project / "conf" / "custom" / "custom.yml").write_text(text)

    (project / "data" / "01_raw" / "prompts" / "mine.csv").write_text("text\nthe green park\n")
    return write_own


@pytest.fixture(scope="module")
def custom_run(write, kedro_run: Command) -> Outcome:
    write(OWN)
    small = "sampling.ddim_steps=3,compute.precision=float32,evaluation.replicates=200"
    result = kedro_run("--params", small, env="custom")
    assert result.exit_code == 0, result.output
    return result


def found(project: Path, pattern: str) -> Path:
    (path,) = (project / "data" / "custom").glob(pattern)
    return path


def test_the_prompts_are_the_users(custom_run: Outcome, project: Path) -> None:
    prompts = pd.read_parquet(found(project, "03_primary/prompts.parquet/*/[!_]*"))
    assert list(prompts["text"]) == ["a cat on the moon", "a green dog", "the green park"]
    assert list(prompts["split"]) == ["train", "train", "unseen"]
    sources = list(prompts["source"].unique())
    assert sources[0].startswith("conf/custom/custom.yml")
    assert "data/01_raw/prompts/mine.csv" in sources[-1]


def all_scores(project: Path) -> pd.DataFrame:
    names = ("base", "sft", "dpok")
    pattern = "07_model_output/custom/{}/scores.parquet/*/[!_]*"
    return pd.concat([pd.read_parquet(found(project, pattern.format(name))) for name in names])


def test_the_budget_is_the_users(custom_run: Outcome, project: Path) -> None:
    curves = pd.read_parquet(found(project, "07_model_output/custom/dpok/curves.parquet/*/[!_]*"))
    assert list(curves["images_seen"]) == [4, 8]  # 7 images in whole iterations
    samples = found(project, "05_model_input/custom/sft_samples/*/sft_samples")
    assert sum(len(pd.read_parquet(shard)) for shard in samples.glob("*.parquet")) == 7
    # `--params evaluation.replicates` has left the budget's part of that group alone.
    scores = all_scores(project)
    assert len(scores) == 3 * 3 * 3  # methods, prompts, images


def test_the_reward_is_the_users_and_a_column_of_its_own(
    custom_run: Outcome, project: Path
) -> None:
    scores = all_scores(project)
    assert {"image_reward", "reward"} <= set(scores.columns)
    assert "judge" not in scores
    # 20 times how far the mean red is from one half.
    assert scores["reward"].between(-10, 10).all()
    assert scores["reward"].std() > 0
    assert set(scores["experiment"]) == {"custom"}


def test_nothing_else_has_been_made(custom_run: Outcome, project: Path) -> None:
    folders = {
        path.relative_to(project / "data/custom").parts for path in versions(project, "custom")
    }
    assert {parts[1] for parts in folders if parts[0] == "06_models"} == {"custom", "work"}


def sixteen_prompts() -> str:
    """As shipped, 16 prompts at 16 images an iteration gave every image an advantage of 0."""
    places = ("on the moon", "in the park", "and a dog", "and a rabbit")
    texts = [f"a {colour} cat {place}" for colour in ("green", "red", "b", "c") for place in places]
    prompts = OWN.replace(TRAIN, f"[{', '.join(texts)}]")
    return prompts.replace(
        "images: 7, images_per_iteration: 4", "images: 16, images_per_iteration: 16"
    )


def test_as_many_prompts_as_images_learn_by_groups_of_their_own(
    write, kedro_run: Command, project: Path
) -> None:
    write(sixteen_prompts())
    small = "sampling.ddim_steps=3,compute.precision=float32"
    options = ("--pipelines", "prompt_preparation,rl_training", "--params", small)
    result = kedro_run(*options, env="custom")
    assert result.exit_code == 0, result.output
    folder = max((project / "data" / "custom").glob("06_models/custom/dpok/lora/*/lora"))
    weights = load_file(folder / "pytorch_lora_weights.safetensors")
    moved = [np.abs(value).max() > 0 for name, value in weights.items() if "lora_B" in name]
    assert all(moved)


def test_groups_of_one_that_could_not_learn_are_refused_before_any_work(
    write, kedro_run: Command, project: Path
) -> None:
    write(sixteen_prompts())
    before = versions(project, "custom")
    line = error_of(kedro_run("--params", "rl_training.group_size=1", env="custom"))
    assert "custom.dpok: " in line
    assert "100% of the advantages are exactly 0" in line
    assert "group_size" in line
    assert versions(project, "custom") == before


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sft_updates: 2", "sft_update: 2", "custom.yml: budget.sft_updates: Field required"),
        (TRAIN, '["a \\0 cat"]', "custom.yml: prompts.train, prompt 1: holds U+0000, a control"),
        (
            TRAIN,
            "[a cat, A Cat]",
            "custom.yml: prompts.train, prompt 2: duplicate of prompts.train",
        ),
        (TRAIN, EIGHT, "sample_generation.images is 7, but custom has 8 training prompts"),
        ("images: 7", "images: many", "custom.yml: budget.images: Input should be a valid integer"),
        ("settings: emoji_world", "settings: sd", "custom.yml: settings: Input should be 'emoji"),
        (TRAIN, "[]", "custom.yml: prompts.train"),
        (TRAIN, "[a cat, a cat]", "prompt 2: duplicate of prompts.tr"),
        ("reward: tests.algorithms", "reward: [", "custom.yml, line 5: not valid YAML"),
        (f"base_model: {WORLD}/base_model", "base_model: data/nothing", "data/nothing"),
        ("support.Brightness", "support.Darkness", "has no `Darkness`"),
        ("format: csv", "format: tsv", "custom.yml: prompts.unseen.format: Input should be"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    write, kedro_run: Command, before: str, after: str, message: str
) -> None:
    assert before in OWN
    write(OWN.replace(before, after))
    line = error_of(kedro_run("--pipelines", "prompt_preparation,sample_generation", env="custom"))
    assert message in line
