from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.diffusion import sampler
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import LoRAConfig, SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions, predict_noise
from dpok_pipeline.diffusion.lora import attach_lora, lora_parameters
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import encode
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.errors import InputError
from tests.diffusion.noise import noise

SAMPLING = SamplingConfig(ddim_steps=4, guidance_scale=3)
PROMPTS = ["A cat.", "A dog.", "A cat and a dog.", "A dog on the moon.", "A green cat."]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**62),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
)
def test_noise_is_a_function_of_seed_and_index(seed: int, indices: list[int]) -> None:
    together = noise(seed, indices, (2, 3, 3), "initial")
    for position, index in enumerate(indices):
        assert torch.equal(noise(seed, [index], (2, 3, 3), "initial")[0], together[position])
        other = noise(seed, [index], (2, 3, 3), "steps")[0]
        assert not torch.equal(other, together[position])


def test_noise_is_standard_normal_and_independent() -> None:
    drawn = noise(0, range(400), (4, 8, 8), "initial").flatten(1)
    assert drawn.mean().abs() < 0.01
    assert drawn.std().item() == pytest.approx(1, abs=0.01)
    correlation = torch.corrcoef(drawn[:50]) - torch.eye(50)
    assert correlation.abs().max() < 0.3  # 5 standard errors
    assert derive_seed(0, "rollout") != derive_seed(0, "evaluation")
    assert 0 <= derive_seed(0, "rollout") < 2**63


def test_images_do_not_depend_on_the_batch(tiny_model: DiffusionModel) -> None:
    together = sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5)).latents
    by_two = sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5), batch_size=2).latents
    torch.testing.assert_close(together, by_two, rtol=1e-4, atol=1e-4)
    hidden = encode(tiny_model, PROMPTS)
    assert torch.equal(
        sample(tiny_model, hidden, SAMPLING, seed=1, indices=range(5)).latents, together
    )
    third = sample(tiny_model, PROMPTS[2:3], SAMPLING, seed=1, indices=[2]).latents
    torch.testing.assert_close(together[2:3], third, rtol=1e-4, atol=1e-4)
    again = sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5)).latents
    assert torch.equal(together, again)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_trajectory_and_log_probs_are_those_of_the_update(
    tiny_model: DiffusionModel, guidance_scale: float
) -> None:
    attach_lora(tiny_model.unet, LoRAConfig(rank=2), seed=0)
    for parameter in lora_parameters(tiny_model.unet):
        parameter.data.normal_(std=0.2)
    sampling = SamplingConfig(ddim_steps=4, guidance_scale=guidance_scale)
    samples = sample(tiny_model, PROMPTS, sampling, seed=1, indices=range(5), keep_trajectory=True)
    assert samples.trajectory is not None
    assert samples.log_probs is not None
    assert samples.trajectory.shape == (5, 5, 4, 8, 8)
    assert torch.equal(samples.trajectory[-1], samples.latents)
    assert torch.equal(samples.trajectory[0], noise(1, range(5), (4, 8, 8), "initial"))
    table = DDIMTransitions.build(tiny_model.scheduler, sampling)
    step = torch.tensor([0, 3, 1, 2, 3])
    image = torch.tensor([4, 0, 1, 2, 3])
    latents = samples.trajectory[step, image]
    prompt = encode(tiny_model, [PROMPTS[i] for i in image])
    empty = encode(tiny_model, [""])
    predicted = predict_noise(
        tiny_model, latents, table.timesteps[step], prompt, empty, guidance_scale
    )
    mean = table.mean(latents, predicted, step)
    log_prob = table.log_prob(samples.trajectory[step + 1, image], mean, step)
    torch.testing.assert_close(log_prob, samples.log_probs[step, image], rtol=0, atol=1e-6)


def test_guidance_by_hand(tiny_model: DiffusionModel) -> None:
    latents, times = torch.randn(2, 4, 8, 8), torch.tensor([1, 981])
    prompt, empty = encode(tiny_model, PROMPTS[:2]), encode(tiny_model, [""])
    with torch.no_grad():
        conditional = tiny_model.unet(latents, times, prompt)[0]
        unconditional = tiny_model.unet(latents, times, empty.repeat(2, 1, 1))[0]
        guided = predict_noise(tiny_model, latents, times, prompt, empty, 3.0)
        plain = predict_noise(tiny_model, latents, times, prompt, empty, 1.0)
    expected = unconditional + 3 * (conditional - unconditional)
    torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(plain, conditional)


def test_bfloat16_log_probs_are_float32_and_close(
    tiny_model: DiffusionModel, tiny_model_folder: Path
) -> None:
    rounded = load_base_model(describe_base_model(tiny_model_folder), precision="bfloat16")
    options: dict[str, Any] = {"seed": 1, "indices": range(5), "keep_trajectory": True}
    exact = sample(tiny_model, PROMPTS, SAMPLING, **options)
    rough = sample(rounded, PROMPTS, SAMPLING, **options)
    assert rough.latents.dtype == torch.float32
    assert rough.log_probs is not None
    assert exact.log_probs is not None
    # The noise is the same, and log p is a function of it: only the rounding of x − μ differs.
    torch.testing.assert_close(rough.log_probs, exact.log_probs, rtol=0, atol=1e-5)
    assert (rough.latents - exact.latents).abs().mean() < 0.05 * exact.latents.std()


def test_deterministic_sampling_needs_no_step_noise(tiny_model: DiffusionModel) -> None:
    sampling = SamplingConfig(ddim_steps=4, eta=0, guidance_scale=3)
    drawn = sample(tiny_model, PROMPTS, sampling, seed=1, indices=range(5), keep_trajectory=True)
    assert bool(drawn.latents.isfinite().all())
    # The KL is measured along it; there are no log-probabilities to be taken for any.
    assert drawn.trajectory is not None
    assert bool(drawn.trajectory.isfinite().all())
    assert drawn.log_probs is not None
    assert bool(drawn.log_probs.isnan().all())


def test_as_many_prompts_as_indices(tiny_model: DiffusionModel) -> None:
    with pytest.raises(InputError, match="5 prompts for 4"):
        sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(4))
    with pytest.raises(InputError, match="0 prompts"):
        sample(tiny_model, [], SAMPLING, seed=1, indices=[])


def test_batches_are_halved_until_they_fit(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5), batch_size=2)
    sizes = []

    def small_device(model: Any, latents: torch.Tensor, *rest: Any) -> torch.Tensor:
        sizes.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError("no room")
        return predict_noise(model, latents, *rest)

    monkeypatch.setattr("dpok_pipeline.diffusion.memory.gc.collect", int)  # slow in a test run
    monkeypatch.setattr(sampler, "predict_noise", small_device)
    found = sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5), batch_size=64)
    assert found.batch_size == 2
    assert torch.equal(found.latents, expected.latents)
    assert sizes == [5, 3, *[2] * 4, *[2] * 4, *[1] * 4]
    monkeypatch.setattr(sampler, "predict_noise", _no_room)
    with pytest.raises(InputError, match="drawing images on cpu: one at a time does not fit"):
        sample(tiny_model, PROMPTS, SAMPLING, seed=1, indices=range(5))


def _no_room(*_: Any) -> torch.Tensor:
    raise torch.OutOfMemoryError("no room at all")


def test_decode(tiny_model: DiffusionModel) -> None:
    images = decode(tiny_model, torch.randn(3, 4, 8, 8), batch_size=2)
    assert images.shape == (3, 3, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
