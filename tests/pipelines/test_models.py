"""What nodes share on the way from the catalog to the engine."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from dpok_pipeline.diffusion import base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    forget_models,
    open_embedder,
    open_model,
    open_scorer,
    scorer_identity,
    select_prompts,
)
from dpok_pipeline.rewards.load import ScorerConfig
from tests.rewards.conftest import write_clip

OWN = "def score(images, prompts):\n    return images.mean((1, 2, 3))\n"


@pytest.fixture
def own_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "own_reward_of_a_test.py"
    module.write_text(OWN)
    return module


def test_a_scorer_is_what_its_specification_files_and_module_say(own_reward: Path) -> None:
    folder = own_reward.parent / "files"
    folder.mkdir()
    (folder / "weights").write_text("1")
    spec = ScorerConfig(kind="own_reward_of_a_test.score", path="files")
    without = spec.model_copy(update={"path": None})
    seen = {str(scorer_identity(spec)), str(scorer_identity(without))}
    (folder / "weights").write_text("2")
    seen.add(str(scorer_identity(spec)))
    own_reward.write_text(OWN.replace("mean", "amax"))
    seen.add(str(scorer_identity(spec)))
    assert len(seen) == 4


def test_a_scorer_is_what_its_helper_modules_say(own_reward: Path) -> None:
    helper = own_reward.with_name("own_helper_of_a_test.py")
    own_reward.write_text(f"import own_helper_of_a_test\n{OWN}")
    part = {"kind": "own_reward_of_a_test.score", "weight": 1.0}
    inner = {"kind": "weighted_sum", "weight": 1.0, "parts": {"a": part}}
    specs = (
        ScorerConfig(kind=part["kind"]),
        ScorerConfig(kind="weighted_sum", parts={"a": part}),
        ScorerConfig(kind="weighted_sum", parts={"sum": inner}),
    )
    for spec in specs:
        helper.write_text("FACTOR = 1\n")
        importlib.invalidate_caches()
        before = scorer_identity(spec)
        helper.write_text("FACTOR = 2\n")
        assert scorer_identity(spec) != before


def test_a_scorer_has_the_code_of_each_of_its_kinds(own_reward: Path) -> None:
    """In an order that runs which go on know it by."""
    mine: dict[str, object] = {"kind": "own_reward_of_a_test.score", "weight": 1.0}
    shipped: dict[str, object] = {"kind": "clip_score", "weight": 1.0}
    code = file_sha256(own_reward)
    spec = ScorerConfig(kind="weighted_sum", parts={"mine": mine, "clip": shipped})
    assert scorer_identity(spec)["code"] == [None, code, None]
    inner = {"kind": "weighted_sum", "weight": 1.0, "parts": {"mine": mine}}
    spec = ScorerConfig(kind="weighted_sum", parts={"sum": inner, "clip": shipped})
    assert scorer_identity(spec)["code"] == [None, None, code, None]


def test_files_that_a_scorer_does_not_name_do_not_matter(own_reward: Path) -> None:
    spec = ScorerConfig(kind="own_reward_of_a_test.score")
    before = scorer_identity(spec)
    (own_reward.parent / "other").write_text("x")
    assert scorer_identity(spec) == before


@pytest.fixture
def prompts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["a cat", "a dog", "a cup"],
            "experiment": ["color", "color", "count"],
            "split": ["train", "unseen", "unseen"],
        }
    )


def test_prompts_are_chosen_by_experiment_and_split(prompts: pd.DataFrame) -> None:
    assert list(select_prompts(prompts, "color", "train")["text"]) == ["a cat"]
    assert list(select_prompts(prompts, "color", None)["text"]) == ["a cat", "a dog"]


@pytest.mark.parametrize(("experiment", "split"), [("location", None), ("count", "train")])
def test_an_experiment_without_prompts_is_named_with_those_present(
    prompts: pd.DataFrame, experiment: str, split: str | None
) -> None:
    with pytest.raises(InputError, match=f"experiment {experiment} has no .*present: color, count"):
        select_prompts(prompts, experiment, split)


def test_auto_takes_a_device_that_is_there() -> None:
    assert ComputeConfig(device="cpu").torch_device() == "cpu"
    assert ComputeConfig().torch_device() in ("cpu", "cuda")


def test_models_are_opened_once_per_command(tiny_model_folder: Path, own_reward: Path) -> None:
    from dpok_pipeline.diffusion.base_model import describe_base_model

    handle, compute = describe_base_model(tiny_model_folder), ComputeConfig()
    spec = ScorerConfig(kind="own_reward_of_a_test.score")
    model, scorer = open_model(handle, compute), open_scorer(spec, compute)
    assert open_model(handle, compute) is model
    assert open_scorer(spec.model_copy(), ComputeConfig()) is scorer
    assert open_model(handle, ComputeConfig(gradient_checkpointing=True)) is not model
    forget_models()
    assert open_scorer(spec, compute) is not scorer


def test_a_model_whose_files_were_replaced_is_opened_anew(own_reward: Path) -> None:
    """A score is written down as given by the files that there are at that time."""
    files = own_reward.parent / "files"
    files.mkdir()
    (files / "weights").write_text("1")
    spec = ScorerConfig(kind="own_reward_of_a_test.Reward", path="files")
    own_reward.write_text(
        "class Reward:\n"
        "    from_folder = classmethod(lambda cls, folder: cls())\n"
        "    def score(self, images, prompts):\n"
        "        return images.mean((1, 2, 3))\n"
    )
    importlib.invalidate_caches()
    sys.modules.pop("own_reward_of_a_test", None)
    scorer = open_scorer(spec, ComputeConfig())
    assert open_scorer(spec, ComputeConfig()) is scorer
    (files / "weights").write_text("2")
    assert open_scorer(spec, ComputeConfig()) is not scorer
    clip = write_clip(own_reward.parent / "clip")
    embedder = open_embedder(clip, ComputeConfig())
    assert open_embedder(clip, ComputeConfig()) is embedder
    (clip / "further.txt").touch()
    assert open_embedder(clip, ComputeConfig()) is not embedder


def test_the_same_parts_elsewhere_are_the_same_reward(own_reward: Path) -> None:
    identities = []
    for place in ("here", "there"):
        (own_reward.parent / place).mkdir()
        (own_reward.parent / place / "weights").write_text("1")
        part = {"kind": "own_reward_of_a_test.score", "path": place, "weight": 1.0}
        inner = {"kind": "weighted_sum", "weight": 1.0, "parts": {"a": part}}
        spec = ScorerConfig(kind="weighted_sum", parts={"sum": inner})
        identities.append(scorer_identity(spec))
    assert identities[0] == identities[1]


def test_a_base_model_that_does_not_fit_is_said_so(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(base_model, "load_base_model", no_memory)
    forget_models()
    handle = base_model.describe_base_model(tiny_model_folder)
    with pytest.raises(InputError, match="base_model: opening it on cpu: does not fit in memory"):
        open_model(handle, ComputeConfig(device="cpu"))
