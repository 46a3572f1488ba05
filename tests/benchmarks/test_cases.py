from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.__main__ import choose_methods, table
from benchmarks.cases import Setting, run_cases
from benchmarks.configured import read
from benchmarks.random_models import STABLE_DIFFUSION, check_data

from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.rwr.config import RWRConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.config import TrainingConfig
from dpok_pipeline.training.monitoring.speed import count_flops
from tests.algorithms.support import Brightness, small_config

CONF = Path(__file__).parents[2] / "conf"
WORLD = CONF.parent / "data" / "01_raw" / "emoji_world"


def method(name: str, algorithm: str, training: TrainingConfig) -> Method:
    return Method(
        name=name,
        algorithm=algorithm,
        label=name,
        colour="#000000",
        lora=LoRAConfig(rank=2),
        training=training,
    )


def test_flops_of_a_matrix_product() -> None:
    left, right = torch.ones(2, 3), torch.ones(3, 5)
    assert count_flops(lambda: left @ right) == 2 * 2 * 3 * 5


@pytest.mark.stress
def test_every_case_is_measured(tiny_model: DiffusionModel) -> None:
    setting = Setting(
        tiny_model, Brightness(), SamplingConfig(ddim_steps=2, guidance_scale=3), repeats=1
    )
    online = small_config(images_per_iteration=3, transitions_per_update=4, microbatch=4)
    offline = SFTConfig(updates=1, rows_per_update=4, microbatch=4)
    rwr = RWRConfig(iterations=1, images_per_iteration=2, rows_per_update=2)
    methods = [
        method("ours", "dpok", online),
        method("again", "rwr", rwr),
        method("sft_x", "sft", offline),
    ]
    cases = {case.name: case for case in run_cases(setting, methods)}
    parts = ["rollout", "decoding", "reward", "update", "iteration"]
    without_update = [part for part in parts if part != "update"]
    assert list(cases) == [
        *(f"ours {part}" for part in parts),
        *(f"again {part}" for part in without_update),
        "sft_x update",
    ]
    assert all(case.peak_bytes > 0 and case.seconds > 0 for case in cases.values())
    rollout, update = cases["ours rollout"], cases["ours update"]
    # Guided forward passes: two steps per image; reference, policy and backward per transition.
    assert update.flops / (rollout.flops / 2) == pytest.approx(3, abs=0.4)
    # An iteration: a rollout of 3 images, their decoding, 2 updates of 4 rows, a small critic.
    whole = 3 * (rollout.flops + cases["ours decoding"].flops) + 2 * 4 * update.flops
    assert cases["ours iteration"].flops == pytest.approx(whole, rel=0.05)
    assert "sft_x update" in table(list(cases.values()), limit=1e12)
    assert not lora_layers(tiny_model.unet)


class Other(TrainingConfig):
    """The configuration of an algorithm that has no cases."""


def test_an_algorithm_without_cases_is_named(tiny_model: DiffusionModel) -> None:
    sampling = SamplingConfig(ddim_steps=2, guidance_scale=3)
    setting = Setting(tiny_model, Brightness(), sampling, repeats=1)
    other = method("new", "dpok", small_config()).model_copy(update={"training": Other()})
    with pytest.raises(InputError, match="new: the parts of dpok are not measured"):
        run_cases(setting, [other])
    assert not lora_layers(tiny_model.unet)


@pytest.mark.parametrize(
    ("env", "steps", "images", "rows"), [("base", 15, 48, None), ("paper", 50, 10, 48)]
)
def test_sizes_are_the_environments(env: str, steps: int, images: int, rows: int | None) -> None:
    configured = read(env, conf=CONF)
    assert configured.sampling.ddim_steps == steps
    training = configured.method("dpok").training
    assert isinstance(training, DPOKConfig)
    assert (training.images_per_iteration, training.transitions_per_update) == (images, rows)
    assert configured.reward.kind == "image_reward"
    assert {"image_reward", "aesthetic"} <= set(configured.scorers)


def test_params_are_those_of_kedro_run() -> None:
    params = f"base_model={WORLD / 'base_model'},rl_training.microbatch=7,preset=coco"
    configured = read("paper", params, CONF, device="cpu")
    assert configured.base_model.path == str(WORLD / "base_model")
    assert configured.compute.device == "cpu"
    training = configured.method("dpok").training
    assert isinstance(training, DPOKConfig)
    assert (training.microbatch, training.images_per_iteration) == (7, 45)


def test_methods_are_the_environments() -> None:
    configured = read("ablations", conf=CONF)
    assert [method.name for method in choose_methods(configured)] == ["sft", "dpok", "rwr"]
    (chosen,) = choose_methods(configured, ["dpok_no_kl"])
    assert chosen.training.model_dump()["kl_weight"] == 0
    with pytest.raises(InputError, match="rl: no such method; there are sft, dpok, dpok_no_kl"):
        configured.method("rl")


def test_missing_configurations_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(STABLE_DIFFUSION / "unet" / "config.json")):
        check_data(tmp_path)


def test_a_forward_of_stable_diffusion_costs_what_the_estimates_say() -> None:
    """On the meta device, where nothing is computed: docs/stable_diffusion.md takes 0.75 TFLOP."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        latents, text = torch.empty(1, 4, 64, 64), torch.empty(1, 77, 768)
        flops = count_flops(lambda: unet(latents, torch.tensor(5, device="meta"), text))
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    assert flops == pytest.approx(0.75e12, rel=0.1)
