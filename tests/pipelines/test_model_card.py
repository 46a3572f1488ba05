from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.pipelines.model_card import base_licence, describe_scorer, write_model_card
from dpok_pipeline.rewards.load import ScorerConfig


@pytest.fixture
def base(tiny_model_folder: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "my-base"))
    front = "---\nlanguage: en\nlicense: creativeml-openrail-m\ntags:\n- text\n---\n\nlicense: no\n"
    (folder / "README.md").write_text(front)
    return folder


def test_the_card_says_what_the_lora_was_made_from(base: Path, tmp_path: Path) -> None:
    handle = describe_base_model(base)
    method = Method(
        name="mine",
        algorithm="dpok",
        label="DPOK of mine",
        colour="#000000",
        lora={"rank": 4},
        training={"iterations": 2000, "kl_weight": 0.02, "checkpoint_every": 7},
    )
    write_model_card(
        tmp_path,
        method=method,
        base_model=handle,
        prompts=[f"prompt {number}." for number in range(25)],
        reward="image_reward, ImageReward.pt",
        scores={"last_reward": 1.23456, "seconds": 7.0},
        sampling=SamplingConfig(ddim_steps=50, guidance_scale=7.5),
    )
    text = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "my-base"
    assert front["license"] == "creativeml-openrail-m"
    assert "dpok" in front["tags"]
    for line in (
        "| revision | none: a folder |",
        f"| sha256 of its files | {handle.content_hash} |",
        "| licence, which binds this LoRA too | creativeml-openrail-m |",
        "| reward | image_reward, ImageReward.pt |",
        "| method | DPOK of mine |",
        "| ddim steps | 50 |",
        "| rank | 4 |",
        "| iterations | 2000 |",
        "| kl weight | 0.02 |",
        "| last reward | 1.235 |",
        "Prompts (25):",
        "* prompt 19.",
        "… and 5 more.",
    ):
        assert line in text.splitlines(), line
    assert "seconds" not in text
    assert "checkpoint" not in text.partition("## Scores")[0]
    assert "prompt 20." not in text


def test_a_licence_that_is_not_stated_is_not_made_up(base: Path, tmp_path: Path) -> None:
    handle = describe_base_model(base)
    assert base_licence(handle) == "creativeml-openrail-m"
    for text in (None, "license: mit\n", "---\nlanguage: en\n---\n"):
        (base / "README.md").unlink()
        (base / "README.md").write_text(text or "")
        assert base_licence(handle) == "not stated in its folder"


def test_a_scorer_is_named_by_what_was_configured() -> None:
    given = ScorerConfig(kind="image_reward", path="reward.pt", precision="bfloat16")
    assert describe_scorer(given) == "image_reward, reward.pt, bfloat16"
    assert describe_scorer(ScorerConfig(kind="mine.reward")) == "mine.reward"


def test_a_reward_is_named_without_the_folders_of_this_machine() -> None:
    given = {"kind": "image_reward", "path": "/models/of/mine/reward.pt"}
    assert describe_scorer(ScorerConfig(**given)) == "image_reward, reward.pt"
    summed = ScorerConfig(kind="weighted_sum", parts={"one": {**given, "weight": 0.5}})
    assert describe_scorer(summed) == "weighted_sum, one (image_reward, reward.pt, 0.5)"
