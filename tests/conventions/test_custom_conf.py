"""conf/custom's settings for Stable Diffusion are the official run's, as conf/paper has it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.configuration.own_work import FILE
from dpok_pipeline.settings import CONFIG_LOADER_ARGS
from tests.conventions.test_paper_conf import GROUPS, typed

ROOT = Path(__file__).parents[2]
OWN = {
    "sample_generation": {"images"},
    "sft_training": {"updates"},
    "rl_training": {"iterations", "images_per_iteration"},
    "evaluation": {"images_per_prompt"},
}


def groups(folder: Path, monkeypatch: pytest.MonkeyPatch, settings: str) -> dict[str, Any]:
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    own = yaml.safe_load((folder / FILE).read_text())
    (folder / FILE).write_text(yaml.safe_dump({**own, "settings": settings}))
    monkeypatch.chdir(folder)
    loader = ProjectConfigLoader(
        conf_source=str(folder / "conf"), env="custom", **CONFIG_LOADER_ARGS
    )
    parameters = loader["parameters"]
    return {name: kind(**parameters[name]) for name, kind in GROUPS.items()}


def test_stable_diffusions_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, official = groups(tmp_path, monkeypatch, "stable_diffusion"), typed()
    for name, group in official.items():
        own = OWN.get(name, set())
        assert found[name].model_dump(exclude=own) == group.model_dump(exclude=own), name
    budget = yaml.safe_load((ROOT / FILE).read_text())["budget"]
    assert found["sample_generation"].images == budget["images"]
    rl = found["rl_training"]
    assert rl.images_per_iteration == budget["images_per_iteration"]
    assert rl.iterations == budget["images"] / budget["images_per_iteration"]


def test_emoji_worlds_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = groups(tmp_path, monkeypatch, "emoji_world")
    base = yaml.safe_load((ROOT / "conf" / "base" / "parameters_rl_training.yml").read_text())
    assert found["rl_training"].learning_rate == base["rl_training"]["learning_rate"]
    assert found["sampling"].ddim_steps == 15
