"""`python -m dpok_pipeline.algorithms`: one training from one file, by one process or by two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dpok_pipeline.algorithms.standalone import read_training, train_alone
from dpok_pipeline.errors import InputError
from tests.project import ROOT
from tests.rewards.blip_reference import random_state
from tests.rewards.conftest import VOCAB, tiny_image_reward

WEIGHTS = Path("lora", "pytorch_lora_weights.safetensors")
TRAINING: dict[str, Any] = {
    "algorithm": "dpok",
    "base_model": "base",
    "prompts": ["A cat.", "A dog on the moon."],
    "reward": {"kind": "tests.algorithms.support.Brightness"},
    "sampling": {"ddim_steps": 3, "guidance_scale": 3.0},
    "lora": {"rank": 2},
    "training": {
        "slices": 2,
        "iterations": 2,
        "images_per_iteration": 4,
        "updates_per_iteration": 1,
        "transitions_per_update": 8,
        "baseline": "none",
        "ratio_clip": 1e-3,
    },
    "device": "cpu",
}


@pytest.fixture
def described(tmp_path: Path, tiny_model_folder: Path) -> Path:
    """A file that describes a small training."""
    path = tmp_path / "training.yml"
    path.write_text(yaml.safe_dump({**TRAINING, "base_model": str(tiny_model_folder)}))
    return path


def train(file: Path, output: Path, *launcher: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *launcher, "-m", "dpok_pipeline.algorithms", file, "--output", output],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "GLOO_SOCKET_IFNAME": "lo",
        },
    )


@pytest.mark.stress
def test_torchrun_trains_the_same_lora_as_one_process(described: Path, tmp_path: Path) -> None:
    alone = train(described, tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert alone.stderr.splitlines()[-1] == f"The LoRA: {tmp_path / 'alone' / 'lora'}"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    pair = train(described, tmp_path / "pair", *torchrun)
    assert pair.returncode == 0, pair.stderr
    assert (tmp_path / "alone" / WEIGHTS).read_bytes() == (tmp_path / "pair" / WEIGHTS).read_bytes()


def go_on(described: Path, reward: dict[str, Any]) -> None:
    """Train by a reward, or go on with what an earlier call has left."""
    content = yaml.safe_load(described.read_text())
    training = {**content["training"], "iterations": 1}
    described.write_text(yaml.safe_dump({**content, "reward": reward, "training": training}))
    train_alone(read_training(described), described.parent / "output", rank=0, resume="auto")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": {"red": {"weight": 1.0}}}, "reward_model.parts.red.weight was 0.1 and is 1.0"),
        ({"precision": "bfloat16"}, "reward_model.precision was"),
        (
            {"parts": {"red": {"kind": "tests.project.BrightJudge"}}},
            "reward_model.parts.red.kind was",
        ),
    ],
)
def test_a_state_of_another_reward_is_refused(
    described: Path, change: dict[str, Any], said: str
) -> None:
    part = {"kind": "tests.algorithms.support.Brightness", "weight": 0.1}
    reward = {"kind": "weighted_sum", "parts": {"red": part}}
    go_on(described, reward)
    changed = {"red": {**part, **change.get("parts", {}).get("red", {})}}
    with pytest.raises(InputError, match="made with other inputs") as error:
        go_on(described, {**reward, **change, "parts": changed})
    assert said in str(error.value)


def test_a_published_reward_is_the_same_once_its_copy_lies_beside_it(
    described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_image_reward().config
    monkeypatch.setattr("dpok_pipeline.rewards.published.ImageRewardConfig", lambda: config)
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(random_state(config), folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    for _ in range(2):
        go_on(described, {"kind": "image_reward", "path": str(folder)})
        assert (folder / "ImageReward" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"algorithm": "ppo"}, "algorithm: "),
        ({"prompts": []}, "prompts: missing; algorithm dpok needs it"),
        ({"reward": None}, "reward: missing"),
        ({"sampling": None}, "sampling: missing"),
        ({"samples": "shards"}, "samples: algorithm dpok has no use for it"),
        ({"algorithm": "sft", "training": {"updates": 1}}, "prompts: algorithm sft has no use"),
        ({"lora": {"rank": 0}}, "lora.rank: "),
        ({"training": {**TRAINING["training"], "iterations": 0}}, "iterations: "),
        ({"training": {**TRAINING["training"], "slices": 3}}, "slices 3 does not divide"),
        ({"training": {**TRAINING["training"], "speed": 1}}, "speed: "),
        ({"temperature": 1}, "temperature: "),
    ],
)
def test_what_cannot_be_trained_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "training.yml"
    path.write_text(yaml.safe_dump({**TRAINING, **change}))
    with pytest.raises(InputError, match=f"{path}: .*") as error:
        read_training(path)
    assert said in str(error.value)


@pytest.mark.parametrize("content", ["", "[1]", "algorithm: [", "a: 1\na: 2"])
def test_a_file_without_fields_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "training.yml"
    path.write_text(content)
    with pytest.raises(InputError, match=str(path)):
        read_training(path)
