from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.__main__ import table
from benchmarks.cases import Setting, run_cases
from benchmarks.configured import read
from benchmarks.measure import count_flops
from benchmarks.random_models import STABLE_DIFFUSION, check_data

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.config import SFTConfig
from tests.algorithms.support import Brightness, small_config

CONF = Path(__file__).parents[2] / "conf"


def test_flops_of_a_matrix_product() -> None:
    left, right = torch.ones(2, 3), torch.ones(3, 5)
    assert count_flops(lambda: left @ right) == 2 * 2 * 3 * 5


def test_every_case_is_measured(tiny_model: DiffusionModel) -> None:
    setting = Setting(
        sampling=SamplingConfig(ddim_steps=2, guidance_scale=3),
        lora=LoRAConfig(rank=2),
        rl=small_config(images_per_iteration=3, transitions_per_update=4, microbatch=4),
        sft=SFTConfig(updates=1, rows_per_update=4, microbatch=4),
        repeats=1,
    )
    found = {case.name: case for case in run_cases(tiny_model, Brightness(), setting)}
    names = ["rollout", "decoding", "reward", "DPOK update", "SFT update", "iteration"]
    assert list(found) == names
    assert all(case.peak_bytes > 0 and case.seconds > 0 for case in found.values())
    rollout, update = found["rollout"], found["DPOK update"]
    # Guided forward passes: two steps per image; reference, policy and backward per transition.
    assert update.flops / (rollout.flops / 2) == pytest.approx(3, abs=0.4)
    # An iteration: a rollout of 3 images, their decoding, 2 updates of 4 rows, a small critic.
    parts = 3 * (rollout.flops + found["decoding"].flops) + 2 * 4 * update.flops
    assert found["iteration"].flops == pytest.approx(parts, rel=0.05)
    assert "DPOK update" in table(list(found.values()), limit=1e12)
    assert not lora_layers(tiny_model.unet)


@pytest.mark.parametrize(
    ("env", "steps", "images", "rows"), [("base", 15, 48, 128), ("paper", 50, 10, 48)]
)
def test_sizes_are_the_environments(env: str, steps: int, images: int, rows: int) -> None:
    found = read(env, "", CONF)
    assert found.sampling.ddim_steps == steps
    assert (found.rl.images_per_iteration, found.rl.transitions_per_update) == (images, rows)
    assert found.reward.kind == "image_reward"


def test_params_are_those_of_kedro_run() -> None:
    found = read("paper", "base_model=/models/sd,rl_training.microbatch=7,preset=coco", CONF)
    assert found.base_model == "/models/sd"
    assert (found.rl.microbatch, found.rl.images_per_iteration) == (7, 45)


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
