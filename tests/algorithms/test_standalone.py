"""`python -m dpok_pipeline.algorithms`: one training from one file, by one process or by two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpok_pipeline.algorithms.standalone import read_training
from dpok_pipeline.errors import InputError
from tests.project import ROOT

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
