from __future__ import annotations

import pytest
import torch

from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.lora import attach_lora, lora_parameters
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.evaluation import divergence
from dpok_pipeline.evaluation.divergence import divergence_along
from tests.small_memory import SmallMemory

SAMPLING = SamplingConfig(ddim_steps=3, guidance_scale=2.0)
PROMPTS = ["a cat", "a dog", "a cat"]


@pytest.fixture
def measure(tiny_model):
    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)

    def along(images=slice(None), **options):
        drawn = sample(
            tiny_model, PROMPTS, SAMPLING, seed=0, indices=[0, 1, 2], keep_trajectory=True
        )
        trajectory = drawn.trajectory[:, images]
        return divergence_along(tiny_model, PROMPTS[images], trajectory, SAMPLING, **options)

    return along


def move(model) -> None:
    with torch.no_grad():
        for parameter in lora_parameters(model.unet):
            parameter.add_(0.05)


def test_it_is_zero_until_the_lora_moves_and_does_not_depend_on_the_batch(tiny_model, measure):
    assert measure().tolist() == [0, 0, 0]
    move(tiny_model)
    moved = measure()
    assert moved.min() > 0
    assert measure(slice(1, None)).tolist() == pytest.approx(moved[1:].tolist(), rel=1e-3)


def test_batches_that_do_not_fit_are_halved(tiny_model, measure, monkeypatch):
    move(tiny_model)
    expected = measure(batch_size=2)
    small = SmallMemory(divergence.predict_noise, 2, lambda model, latents, *rest: len(latents))
    monkeypatch.setattr(divergence, "predict_noise", small)
    assert torch.equal(measure(), expected)
    assert small.refused == [3]


def test_fewer_steps_are_a_mean_over_those_steps(tiny_model, measure):
    """Of three steps every second is the first and the last; every third the first alone."""
    move(tiny_model)
    all_steps, outer, first = measure(), measure(every=2), measure(every=3)
    last = 2 * outer - first
    middle = 3 * all_steps - first - last
    assert (middle > 0).all()
    assert (last > 0).all()
