"""Weights of denoising steps, and the measured share of the gradient that each step has."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.algorithms.dpok.policy_term import step_weights
from dpok_pipeline.algorithms.dpok.update import METRICS, _Sums
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.denoising import DDIMTransitions
from tests.algorithms.support import run_dpok
from tests.diffusion.noise import noise


def stable_diffusions_schedule(steps: int) -> DDIMTransitions:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return DDIMTransitions.build(scheduler, SamplingConfig(ddim_steps=steps, guidance_scale=1))


@pytest.mark.parametrize(("steps", "share"), [(10, 0.86), (15, 0.79), (20, 0.73), (50, 0.49)])
def test_one_step_holds_most_of_the_gradient(steps: int, share: float) -> None:
    squares = stable_diffusions_schedule(steps).gain.square()
    assert float(squares[-2] / squares.sum()) == pytest.approx(share, abs=0.005)


def test_inverse_gains_by_hand() -> None:
    gain = torch.tensor([1.0, 0.5, 4.0])
    assert step_weights(gain, "none").tolist() == [1, 1, 1]
    # 1, 2 and 1/4, of mean 13/12.
    expected = torch.tensor([12 / 13, 24 / 13, 3 / 13])
    torch.testing.assert_close(step_weights(gain, "inverse_gain"), expected)
    # The last step is not learned from: 1 and 2, of mean 3/2.
    expected = torch.tensor([2 / 3, 4 / 3])
    torch.testing.assert_close(step_weights(gain, "inverse_gain", 1)[:2], expected)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=9))
def test_with_inverse_gains_all_steps_weigh_the_same(gains: list[float]) -> None:
    gain = torch.tensor(gains, dtype=torch.float64)
    weighted = step_weights(gain, "inverse_gain") * gain
    torch.testing.assert_close(weighted, weighted[:1].expand_as(weighted))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_squared_score_is_that_of_autograd(guidance: float) -> None:
    steps = stable_diffusions_schedule(10)
    latents, predicted, drawn = (noise(n, range(10), (4, 8, 8), "initial") for n in range(3))
    predicted.mul_(guidance).requires_grad_()
    step = torch.arange(10)
    mean = steps.mean(latents, predicted, step)
    previous = (mean + steps.std.reshape(-1, 1, 1, 1) * drawn).detach()
    steps.log_prob(previous, mean, step, "sum").sum().backward()
    assert predicted.grad is not None
    expected = predicted.grad.square().flatten(1).mean(1)  # (steps,)
    found = steps.squared_score(previous, mean.detach(), step)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_shares_add_up_and_are_zero_where_no_row_is() -> None:
    zeros = torch.zeros(len(METRICS))
    one = _Sums(zeros, torch.tensor([1.0, 0.0, 2.0]), torch.tensor(0.5))
    both = one.added(_Sums(zeros, torch.tensor([0.0, 0.0, 1.0]), torch.tensor(0.25)))
    metrics = both.metrics(rows=4)
    shares = [float(metrics[f"gradient_share/step_{number}"]) for number in (1, 2, 3)]
    assert shares == [0.25, 0, 0.75]
    assert metrics["policy/fresh_log_ratio"] == 0.5
    nothing = _Sums(zeros, torch.zeros(3), torch.zeros(())).metrics(rows=4)
    assert math.isnan(float(nothing["gradient_share/step_1"]))  # left out of an iteration's mean


def test_a_run_writes_the_shares_of_the_steps_it_learns_from(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    curves = run_dpok(
        tiny_model, tmp_path, rows="epochs", last_steps_left_out=1, step_weights="inverse_gain"
    ).curves
    shares = curves[[f"gradient_share/step_{number}" for number in (1, 2, 3)]]
    assert (shares["gradient_share/step_3"] == 0).all()
    assert shares.sum(axis=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_a_step_that_weighs_nothing_gives_no_gradient(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weight reaches the loss: with 0 for all steps and no KL nothing is learned."""
    monkeypatch.setattr(
        "dpok_pipeline.algorithms.dpok.update.step_weights",
        lambda gain, rule, left_out: torch.zeros_like(gain),
    )
    curves = run_dpok(tiny_model, tmp_path, kl_weight=0.0).curves
    assert (curves["grad/norm"] == 0).all()
