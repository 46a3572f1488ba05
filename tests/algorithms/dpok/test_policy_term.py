from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.algorithms.dpok.policy_term import clip_band, policy_term


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


def test_a_ratio_beyond_float32_has_no_gradient_instead_of_nan() -> None:
    # Summed over a latent, a log ratio can be hundreds.
    log_prob = torch.tensor([0.0, 500.0, -500.0], requires_grad=True)
    for advantage in (1.0, -1.0):
        advantages = torch.full((3,), advantage)
        term = policy_term(log_prob, torch.zeros(3), advantages, (0.2, 5.0), "clamp")
        assert term.loss.tolist() == pytest.approx([-advantage, -5 * advantage, -0.2 * advantage])
        assert term.log_ratio.tolist() == [0, 500, -500]
        (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
        assert gradient.tolist() == [-advantage, 0, 0]


def test_gradient_at_ratio_one_is_the_policy_gradient() -> None:
    log_prob = torch.tensor([-3.0, -1.0], requires_grad=True)
    advantage = torch.tensor([0.5, -2.0])
    for rule in ("clamp", "ppo_minimum"):
        term = policy_term(log_prob, log_prob.detach(), advantage, (0.9999, 1.0001), rule)
        (gradient,) = torch.autograd.grad(term.loss.sum(), log_prob)
        assert torch.equal(gradient, -advantage)
