"""conf/paper holds the numbers of the paper and of the official code, in every preset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.configuration.experiments import read_experiments
from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.models import ComputeConfig
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.settings import CONFIG_LOADER_ARGS
from dpok_pipeline.training.config import GenerationConfig
from tests.project import EXPERIMENTS

CONF = Path(__file__).parents[2] / "conf"
PRESETS = ("official_code", "paper_reading", "efficient", "low_memory", "coco", "drawbench")
GROUPS = {
    "sampling": SamplingConfig,
    "lora": LoRAConfig,
    "compute": ComputeConfig,
    "sample_generation": GenerationConfig,
    "sft_training": SFTConfig,
    "rl_training": DPOKConfig,
    "evaluation": EvaluationConfig,
}


def loader(preset: str | None = None, **given: Any) -> ProjectConfigLoader:
    parameters = {**given, **({"preset": preset} if preset else {})}
    return ProjectConfigLoader(
        conf_source=str(CONF), env="paper", runtime_params=parameters, **CONFIG_LOADER_ARGS
    )


def typed(preset: str | None = None, **given: Any) -> dict[str, Any]:
    parameters = loader(preset, **given)["parameters"]
    return {name: kind(**parameters[name]) for name, kind in GROUPS.items()}


def test_the_default_is_the_official_single_prompt_run() -> None:
    found = typed()
    rl, sft = found["rl_training"], found["sft_training"]
    assert found["sampling"] == SamplingConfig(ddim_steps=50, eta=1.0, guidance_scale=7.5)
    assert found["lora"].rank == 4
    # The typed defaults are the official run's; what is left is its length and one addition.
    changes = {"recompute_log_probs": True, "rollout_batch": 10}
    assert rl == DPOKConfig(iterations=2000, **changes)
    assert rl.iterations * rl.images_per_iteration == 20_000
    assert (rl.reward_weight, rl.kl_weight, rl.ratio_clip) == (10.0, 0.01, 1e-4)
    assert (rl.updates_per_iteration, rl.transitions_per_update, rl.buffer_rollouts) == (5, 48, 2)
    assert (rl.learning_rate, rl.weight_decay, rl.max_grad_norm) == (1e-5, 0.0, 0.1)
    assert (rl.clip_rule, rl.log_prob, rl.kl_form) == ("clamp", "mean", "noise_mse")
    assert rl.baseline == "value_function"
    assert found["sample_generation"].images == 20_000
    assert (sft.updates, sft.rows_per_update, sft.learning_rate) == (8000, 128, 2e-5)
    assert (sft.regularisation, sft.sft_shift) == ("kl_o", 2.0)
    assert found == typed("official_code")


def test_the_papers_reading_differs_where_paper_and_code_do() -> None:
    rl = typed("paper_reading")["rl_training"]
    assert (rl.clip_rule, rl.log_prob, rl.kl_form) == ("ppo_minimum", "sum", "gaussian")
    assert (rl.transitions_per_update, rl.weight_decay, rl.baseline) == (32, 1e-2, "none")
    assert typed("paper_reading")["sft_training"].loss == "x0"


def test_the_efficient_preset_uses_every_transition_once() -> None:
    official, rl = typed()["rl_training"], typed("efficient")["rl_training"]
    changed = {
        "rows", "last_steps_left_out", "transitions_per_update", "buffer_rollouts", "baseline",
    }  # fmt: skip
    assert rl.model_dump(exclude=changed) == official.model_dump(exclude=changed)
    steps = typed("efficient")["sampling"].ddim_steps - rl.last_steps_left_out
    rows = rl.updates_per_iteration * rl.transitions_per_update
    assert rows == rl.images_per_iteration * steps


def test_low_memory_changes_batches_only() -> None:
    official, low = typed(), typed("low_memory")
    batches = {"microbatch", "rollout_batch", "batch_size", "gradient_checkpointing"}
    for name, group in official.items():
        assert group.model_dump(exclude=batches) == low[name].model_dump(exclude=batches)
    assert low["rl_training"].microbatch == low["sft_training"].microbatch == 1
    assert low["compute"].gradient_checkpointing


@pytest.mark.parametrize("preset", ["coco", "drawbench"])
def test_many_prompts(preset: str) -> None:
    found = typed(preset)
    rl = found["rl_training"]
    assert (rl.images_per_iteration, rl.kl_weight) == (45, 0.001)
    assert 50_000 - 45 < rl.iterations * 45 <= 50_000
    assert found["sample_generation"].images == 50_000
    assert found["evaluation"].images_per_prompt == 30
    assert read_experiments(loader(preset)) == (preset,)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_in_every_file(preset: str) -> None:
    typed(preset)
    given = loader(preset)
    assert given["catalog"]["prompt_sources"]["sources"]
    names = read_experiments(given)
    for name in names:
        assert given["parameters"][name]["task"] == {"experiment": name}
    assert names == ((preset,) if preset in ("coco", "drawbench") else EXPERIMENTS)


def test_a_misspelt_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match="preset=papr: no such preset; there are official_code, p"):
        read_experiments(loader("papr"))


def test_one_number_on_the_command_line_keeps_the_rest_of_a_preset() -> None:
    rl = typed("paper_reading", rl_training={"iterations": 3})["rl_training"]
    assert (rl.iterations, rl.log_prob) == (3, "sum")


def test_places_are_switched_by_one_name_each() -> None:
    catalog = loader(base_model="/models/sd15", image_reward="/models/reward")["catalog"]
    assert catalog["base_model"]["hub_id"] == "/models/sd15"
    assert catalog["reward_model"]["path"] == "/models/reward"
    assert catalog["scorers"]["scorers"]["image_reward"]["path"] == "/models/reward"


def test_the_judge_is_absent_and_scorers_are_described_as_they_should_be() -> None:
    catalog = loader()["catalog"]
    scorers = catalog["scorers"]["scorers"]
    assert set(scorers) == {"image_reward", "aesthetic"}
    for given in scorers.values():
        ScorerConfig(**given)
    assert re.fullmatch("[0-9a-f]{40}", catalog["base_model"]["revision"])


@pytest.mark.parametrize("path", sorted(CONF.glob("paper/parameters*.yml")), ids=lambda p: p.name)
def test_every_number_has_its_source(path: Path) -> None:
    yaml.safe_load(path.read_text())
    for line in path.read_text().splitlines():
        _, _, value = line.partition(": ")
        if value[:1].isdigit():
            assert re.search(r"# \[(code|paper|ours)", value), f"{path.name}: {line.strip()}"
