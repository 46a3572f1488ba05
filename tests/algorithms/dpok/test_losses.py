from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.algorithms.dpok.losses import (
    clip_band,
    policy_term,
    sft_loss,
    sft_weights,
    x0_weights,
)


def test_band_of_each_reading() -> None:
    assert clip_band(1e-4, 16384, summed=False, literal=False) == (1 - 1e-4, 1 + 1e-4)
    assert clip_band(1e-4, 16384, summed=True, literal=True) == (1 - 1e-4, 1 + 1e-4)
    low, high = clip_band(1e-4, 16384, summed=True, literal=False)
    # ±1.64 nats of the true log-ratio.
    assert math.log(high) == pytest.approx(1.6384)
    assert math.log(low) == pytest.approx(-1.6384)


def test_clamp_by_hand() -> None:
    log_prob = torch.log(torch.tensor([1.0, 1.05, 1.5, 0.5, 1.5, 0.5])).requires_grad_()
    advantage = torch.tensor([2.0, 2.0, 2.0, 2.0, -2.0, -2.0])
    term = policy_term(log_prob, torch.zeros(6), advantage, (0.9, 1.1), "clamp")
    expected = torch.tensor([-2.0, -2.1, -2.2, -1.8, 2.2, 1.8])
    torch.testing.assert_close(term.loss.detach(), expected)
    assert term.clipped.tolist() == [False, False, True, True, True, True]
    (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, -2.1, 0.0, 0.0, 0.0, 0.0]))


def test_ppo_minimum_by_hand() -> None:
    log_prob = torch.log(torch.tensor([1.0, 1.05, 1.5, 0.5, 1.5, 0.5])).requires_grad_()
    advantage = torch.tensor([2.0, 2.0, 2.0, 2.0, -2.0, -2.0])
    term = policy_term(log_prob, torch.zeros(6), advantage, (0.9, 1.1), "ppo_minimum")
    expected = torch.tensor([-2.0, -2.1, -2.2, -1.0, 3.0, 1.8])
    torch.testing.assert_close(term.loss.detach(), expected)
    assert term.clipped.tolist() == [False, False, True, False, False, True]
    (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, -2.1, 0.0, -1.0, 3.0, 0.0]))


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-0.3, 0.3), st.floats(-5, 5), st.floats(1e-4, 0.2), st.sampled_from(["clamp", "ppo"])
)
def test_clipped_means_no_gradient(
    log_ratio: float, advantage: float, clip: float, rule: str
) -> None:
    log_prob = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    term = policy_term(
        log_prob,
        torch.zeros(1, dtype=torch.float64),
        torch.tensor([advantage], dtype=torch.float64),
        (1 - clip, 1 + clip),
        "clamp" if rule == "clamp" else "ppo_minimum",
    )
    (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
    expected = 0.0 if bool(term.clipped) else -advantage * math.exp(log_ratio)
    assert gradient.item() == pytest.approx(expected, abs=1e-12)


def test_gradient_at_ratio_one_is_the_policy_gradient() -> None:
    log_prob = torch.tensor([-3.0, -1.0], requires_grad=True)
    advantage = torch.tensor([0.5, -2.0])
    for rule in ("clamp", "ppo_minimum"):
        term = policy_term(log_prob, log_prob.detach(), advantage, (0.9999, 1.0001), rule)
        (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
        assert torch.equal(gradient, -advantage)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(0, 5))
def test_sft_weights(rewards: list[float], shift: float) -> None:
    given_rewards = torch.tensor(rewards, dtype=torch.float64)
    divergence = sft_weights(given_rewards, shift, "kl_d")
    objective = sft_weights(given_rewards, shift, "kl_o")
    assert divergence.tolist() == pytest.approx([max(r + shift, 0) for r in rewards])
    assert objective.tolist() == pytest.approx([max(r, 0) for r in rewards])
    plain = sft_weights(given_rewards, 0.0, "kl_d")
    assert torch.equal(plain, sft_weights(given_rewards, 0.0, "kl_o"))


def test_sft_loss_by_hand() -> None:
    error, distance = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0])
    weights, ones = torch.tensor([3.0, 0.0]), torch.ones(2)
    assert sft_loss(error, distance, weights, 2.0, ones).tolist() == [4.0, 8.0]
    assert sft_loss(error, None, weights, 2.0, ones).tolist() == [3.0, 0.0]
    assert sft_loss(error, distance, weights, 0.0, ones).tolist() == [3.0, 0.0]
    assert sft_loss(error, distance, weights, 2.0, 10 * ones).tolist() == [40.0, 80.0]


def test_x0_weights_turn_noise_errors_into_image_errors() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - betas).cumprod(0)
    weights = x0_weights(alphas, betas)
    assert weights[0].item() == pytest.approx(0.5, abs=1e-3)
    assert weights[-1].item() == pytest.approx(8900, rel=0.01)
    image, noise, predicted = torch.randn(3, 50, dtype=torch.float64)
    for time in (0, 500, 999):
        noised = alphas[time].sqrt() * image + (1 - alphas[time]).sqrt() * noise
        found = (noised - (1 - alphas[time]).sqrt() * predicted) / alphas[time].sqrt()
        paper = (image - found).square().mean() / (2 * betas[time])
        ours = weights[time] * (noise - predicted).square().mean()
        assert ours.item() == pytest.approx(paper.item())
