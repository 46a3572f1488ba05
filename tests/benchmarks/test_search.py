"""The search's own part: which trials there are, and what each of them trains with."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from benchmarks.search import Study, Trial, combinations, parse_changes

from benchmarks import search
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.errors import InputError
from tests.project import ROOT


@pytest.fixture(autouse=True)
def project_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_value_is_combined_with_all_those_of_the_others() -> None:
    changes = parse_changes(["learning_rate=1e-3,6e-4", "kl_weight=0.01"])
    assert list(combinations(changes)) == [
        {"learning_rate": "1e-3", "kl_weight": "0.01"},
        {"learning_rate": "6e-4", "kl_weight": "0.01"},
    ]
    assert list(combinations({})) == [{}]


@pytest.mark.parametrize("text", ["learning_rate", "=1", "learning_rate=", "learning_rate=1,,2"])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(InputError, match="give NAME=VALUE"):
        parse_changes([text])


def test_an_online_trial_has_the_values_asked_for_wherever_they_belong() -> None:
    changes = {"learning_rate": "1e-3", "value.hidden_size": "8", "rank": "2", "ddim_steps": "3"}
    trial = Trial(Study("smoke", "dpok"), "color", changes)
    training = trial.method.training
    assert isinstance(training, DPOKConfig)
    assert (training.learning_rate, training.value.hidden_size) == (1e-3, 8)
    assert (trial.method.lora.rank, trial.configured.sampling.ddim_steps) == (2, 3)
    assert (training.seed, trial.configured.compute.device) == (search.TRAINING_SEED, "cpu")
    settings = trial._settings()
    assert settings["method"] == "dpok"
    assert settings["images"] == training.iterations * training.images_per_iteration
    changed = "env=smoke learning_rate=0.001 value.hidden_size=8 rank=2 ddim_steps=3"
    assert settings["changed"] == changed


def test_an_offline_trial_shares_seed_and_number_of_images_with_its_samples() -> None:
    trial = Trial(Study("base", "sft"), "count", {"images": "12", "seed": "3", "sft_shift": "1"})
    training, generation = trial.method.training, trial.configured.generation
    assert isinstance(training, SFTConfig)
    assert (training.seed, generation.seed, generation.images) == (3, 3, 12)
    settings = trial._settings()
    assert settings["images"] == 12
    assert settings["changed"] == "images=12 seed=3 sft_shift=1"


def test_a_method_of_the_users_own_is_tried_like_any_other() -> None:
    trial = Trial(Study("ablations", "sft_kl_o"), "color", {"sft_shift": "3"})
    assert trial.configured.compute.compile is False
    assert trial.method.training.model_dump()["regularisation"] == "kl_o"
    assert trial._settings()["method"] == "sft_kl_o"


@pytest.mark.parametrize(
    ("method", "changes", "experiment", "message"),
    [
        ("rl", {}, "color", "rl: no such method; there are sft, dpok"),
        ("dpok", {"images": "3"}, "color", "no such parameter of dpok: images"),
        ("dpok", {"learning_rat": "3"}, "color", "no such parameter of dpok: learning_rat"),
        ("dpok", {"learning_rate": "-1"}, "color", "rl_training.learning_rate is -1"),
        ("dpok", {}, "colour", "colour: no such experiment; there are color"),
    ],
)
def test_what_no_trial_can_be(
    method: str, changes: dict[str, str], experiment: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Trial(Study("base", method), experiment, changes)


def test_a_search_adds_a_row_for_each_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "results" / "search.csv"
    log.parent.mkdir()
    log.write_text((ROOT / search.LOG).read_text())
    before = len(log.read_text().splitlines())
    monkeypatch.setattr(search, "LOG", log)
    monkeypatch.setattr(Trial, "run", lambda trial: trial._settings() | {"judge": 0.5})
    arguments = ["search", "dpok", "kl_weight=0,0.1", "--experiments", "color,count"]
    monkeypatch.setattr(sys, "argv", arguments)
    search.main()
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))[before - 1 :]
    assert [(row["method"], row["experiment"], row["changed"]) for row in rows] == [
        ("dpok", "color", "kl_weight=0"),
        ("dpok", "count", "kl_weight=0"),
        ("dpok", "color", "kl_weight=0.1"),
        ("dpok", "count", "kl_weight=0.1"),
    ]
    assert {(row["judge"], row["image_reward"]) for row in rows} == {("0.5", "")}
