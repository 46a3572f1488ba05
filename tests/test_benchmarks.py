from __future__ import annotations

import pytest
import torch
from benchmarks.__main__ import table
from benchmarks.cases import Setting, run_cases
from benchmarks.measure import count_flops

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import lora_layers


def test_flops_of_a_matrix_product() -> None:
    left, right = torch.ones(2, 3), torch.ones(3, 5)
    assert count_flops(lambda: left @ right) == 2 * 2 * 3 * 5


def test_every_case_is_measured(tiny_model: DiffusionModel) -> None:
    sampling = SamplingConfig(ddim_steps=2, guidance_scale=3)
    setting = Setting(images=3, rows=4, microbatch=4, rank=2, sampling=sampling, repeats=1)
    found = run_cases(tiny_model, setting)
    assert [measurement.name for measurement in found] == [
        "rollout",
        "decoding",
        "DPOK update",
        "SFT update",
    ]
    assert all(measurement.rate > 0 and measurement.peak_bytes > 0 for measurement in found)
    rollout, _, update, _ = found
    # Guided forward passes: two steps per image; reference, policy and backward per transition.
    assert update.flops / (rollout.flops / 2) == pytest.approx(3, abs=0.4)
    assert "DPOK update" in table(found, limit=1e12)
    assert not lora_layers(tiny_model.unet)
