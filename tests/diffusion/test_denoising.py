from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions
from dpok_pipeline.errors import InputError

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def stable_diffusion_scheduler(**changes: object) -> DDIMScheduler:
    settings = {**BETAS, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return DDIMScheduler(**{**settings, **changes})


def transitions(steps: int = 50, eta: float = 1.0) -> DDIMTransitions:
    sampling = SamplingConfig(ddim_steps=steps, eta=eta, guidance_scale=1)
    return DDIMTransitions.build(stable_diffusion_scheduler(), sampling)


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
@pytest.mark.parametrize("eta", [1.0, 0.3])
def test_mean_and_std_are_those_of_diffusers(steps: int, eta: float) -> None:
    scheduler = stable_diffusion_scheduler()
    table = transitions(steps, eta)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(steps)
    assert table.timesteps.tolist() == scheduler.timesteps.tolist()
    for i, timestep in enumerate(scheduler.timesteps):
        latents, noise, fresh = torch.randn(3, 2, 4, 8, 8, generator=generator)
        expected = scheduler.step(
            noise, timestep, latents, eta=eta, variance_noise=fresh
        ).prev_sample
        step = torch.full((2,), i)
        found = table.mean(latents, noise, step) + table.std[i] * fresh
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_all_50_steps_at_stable_diffusions_schedule_within_1e_6(eta: float) -> None:
    """Against diffusers' own step in double precision, relative to the latent's norm."""
    # scheduler_config.json of Stable Diffusion v1.5, a PNDM scheduler's.
    published = {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False, **BETAS}
    scheduler = DDIMScheduler.from_config({**published, "skip_prk_steps": True})
    sampling = SamplingConfig(ddim_steps=50, eta=eta, guidance_scale=7.5)
    table = DDIMTransitions.build(scheduler, sampling)
    generator = torch.Generator().manual_seed(0)
    assert len(scheduler.timesteps) == 50
    for i, timestep in enumerate(scheduler.timesteps):
        latents, noise, fresh = torch.randn(3, 1, 4, 64, 64, generator=generator)
        # The guided prediction is not of unit size.
        noise = 1.3 * noise
        exact = scheduler.step(
            noise.double(), timestep, latents.double(), eta=eta, variance_noise=fresh.double()
        ).prev_sample
        found = table.mean(latents, noise, torch.tensor([i])) + table.std[i] * fresh
        assert float((found.double() - exact).norm() / exact.norm()) < 1e-6, i


def test_coefficients_of_the_official_run() -> None:
    # σ and |c|/σ of Stable Diffusion's 50 steps, as computed from the official code's formulae.
    table = transitions()
    at = torch.tensor([0, 10, 25, 40, 48, 49])
    assert table.timesteps[at].tolist() == [981, 781, 481, 181, 21, 1]
    std = torch.tensor([0.4545, 0.3908, 0.2877, 0.1771, 0.0395, 0.0206])
    torch.testing.assert_close(table.std[at], std, rtol=0, atol=6e-5)
    ratio = torch.tensor([0.513, 0.438, 0.376, 0.448, 3.275, 1.003])
    found = (table.noise_weight[at] / table.std[at]).abs()
    torch.testing.assert_close(found, ratio, rtol=0, atol=6e-4)


def test_rows_of_different_steps_in_one_call() -> None:
    table = transitions(20)
    latents, noise, previous = torch.randn(3, 5, 4, 8, 8)
    step = torch.tensor([0, 3, 19, 3, 7])
    mean = table.mean(latents, noise, step)
    together = table.log_prob(previous, mean, step)
    for row in range(5):
        one = slice(row, row + 1)
        assert torch.equal(table.mean(latents[one], noise[one], step[one])[0], mean[row])
        alone = table.log_prob(previous[one], mean[one], step[one])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-6, atol=0)


@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_log_prob_is_the_normal_distributions(reading: str) -> None:
    table = transitions(20)
    step = torch.arange(20)
    latents, noise, fresh = torch.randn(3, 20, 4, 8, 8)
    mean = table.mean(latents, noise, step)
    std = table.std[step].reshape(-1, 1, 1, 1)
    previous = mean + std * fresh
    exact = torch.distributions.Normal(mean.double(), std.double()).log_prob(previous.double())
    expected = exact.flatten(1).mean(1) if reading == "mean" else exact.flatten(1).sum(1)
    found = table.log_prob(previous, mean, step, reading)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_gaussian_kl_is_torchs(reading: str) -> None:
    table = transitions(20)
    step = torch.arange(20)
    latents, noise, reference = torch.randn(3, 20, 4, 8, 8)
    std = table.std[step].reshape(-1, 1, 1, 1)
    policy = torch.distributions.Normal(table.mean(latents, noise, step), std)
    base = torch.distributions.Normal(table.mean(latents, reference, step), std)
    exact = torch.distributions.kl_divergence(policy, base).flatten(1)
    expected = exact.mean(1) if reading == "mean" else exact.sum(1)
    found = table.kl(noise, reference, step, "gaussian", reading)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_noise_mse_by_hand() -> None:
    noise = torch.zeros(2, 1, 1, 2)
    reference = torch.tensor([[[[1.0, 3.0]]], [[[0.0, 0.0]]]])
    found = transitions(20).kl(noise, reference, torch.tensor([0, 1]), "noise_mse", "sum")
    assert found.tolist() == [5.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 19), st.integers(0, 2**31), st.floats(1e-4, 10))
def test_kl_is_zero_for_equal_policies_and_positive_otherwise(
    step: int, seed: int, size: float
) -> None:
    table = transitions(20)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    at = torch.tensor([step])
    for form in ("noise_mse", "gaussian"):
        assert table.kl(noise, noise, at, form).item() == 0
        assert table.kl(noise, noise * (1 + size), at, form).item() > 0


def test_small_half_precision_differences_do_not_square_to_zero() -> None:
    noise = torch.full((1, 1, 1, 1), 2e-4, dtype=torch.float16)
    assert transitions(20).kl(noise, noise * 0, torch.tensor([0]), "noise_mse").item() > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.floats(0.01, 1))
def test_every_table_is_a_gaussian_chain(steps: int, eta: float) -> None:
    table = transitions(steps, eta)
    assert len(table) == steps
    assert bool((table.std > 0).all())
    assert bool(table.latent_weight.isfinite().all() and table.noise_weight.isfinite().all())


@pytest.mark.parametrize(
    "changes",
    [{"clip_sample": True}, {"prediction_type": "v_prediction"}, {"thresholding": True}],
)
def test_schedulers_without_such_gaussians(changes: dict[str, object]) -> None:
    scheduler = stable_diffusion_scheduler(**changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        DDIMTransitions.build(scheduler, SamplingConfig(ddim_steps=5, guidance_scale=1))
