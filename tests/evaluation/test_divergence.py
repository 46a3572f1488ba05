from __future__ import annotations

import pytest
import torch

from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import attach_lora, lora_parameters
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.evaluation.divergence import divergence_along, divergence_from_base

SAMPLING = SamplingConfig(ddim_steps=3, guidance_scale=2.0)
PROMPTS = ["a cat", "a dog", "a cat"]


def test_it_is_zero_until_the_lora_moves_and_does_not_depend_on_the_batch(tiny_model):
    def measure(batch_size):
        return divergence_from_base(
            tiny_model, PROMPTS, SAMPLING, seed=0, indices=[0, 1, 2], batch_size=batch_size
        )

    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)
    assert measure(3).tolist() == [0, 0, 0]
    with torch.no_grad():
        for parameter in lora_parameters(tiny_model.unet):
            parameter.add_(0.05)
    moved = measure(3)
    assert moved.min() > 0
    samples = sample(tiny_model, PROMPTS, SAMPLING, seed=0, indices=[0, 1, 2], keep_trajectory=True)
    along = divergence_along(tiny_model, PROMPTS[1:], samples.trajectory[:, 1:], SAMPLING)
    assert along.tolist() == pytest.approx(moved[1:].tolist(), rel=1e-3)
    assert measure(2).tolist() == pytest.approx(moved.tolist(), rel=1e-3)
