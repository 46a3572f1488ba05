"""The paper's two lemmas on a chain of Gaussians small enough to integrate exactly.

The "network" predicts a constant noise θ_t for each step of a one-value latent, so x_0 is a linear
function of independent normal numbers. A polynomial reward is integrated without error by
Gauss-Hermite quadrature over them: the estimator's mean is computed, not sampled.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dpok_pipeline.algorithms.dpok.policy_term import policy_term
from dpok_pipeline.diffusion.denoising import DDIMTransitions

CHAIN = DDIMTransitions(
    timesteps=torch.tensor([2, 1, 0]),
    latent_weight=torch.tensor([0.9, 1.1, 1.2]),
    noise_weight=torch.tensor([-0.4, -0.3, -0.5]),
    std=torch.tensor([0.7, 0.5, 0.3]),
)
STEPS = 3
thetas = st.lists(st.floats(-2, 2), min_size=STEPS, max_size=STEPS)


def reward(final: Tensor) -> Tensor:
    return 0.5 * final**3 - final**2 + final


def integrate_x0(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x_0, differentiable, in float64."""
    mean, variance = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    for t in range(STEPS):
        weight = CHAIN.latent_weight[t].double()
        mean = weight * mean + CHAIN.noise_weight[t].double() * theta[t]
        variance = weight**2 * variance + CHAIN.std[t].double() ** 2
    return mean, variance


def expected_reward(theta: Tensor) -> Tensor:
    mean, variance = integrate_x0(theta)
    third = mean**3 + 3 * mean * variance
    return 0.5 * third - (mean**2 + variance) + mean


def trajectories(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Every quadrature node's trajectory `(steps + 1, nodes)` and weight `(nodes,)`."""
    points, weights = np.polynomial.hermite_e.hermegauss(6)
    nodes = torch.tensor(list(itertools.product(points, repeat=STEPS + 1)))
    combined = torch.tensor(list(itertools.product(weights, repeat=STEPS + 1))).prod(1)
    latents = [nodes[:, 0]]
    for t in range(STEPS):
        mean = CHAIN.latent_weight[t] * latents[-1] + CHAIN.noise_weight[t] * theta[t]
        latents.append(mean + CHAIN.std[t] * nodes[:, t + 1])
    return torch.stack(latents), combined / combined.sum()


@settings(max_examples=15, deadline=None)
@given(thetas, st.floats(-2, 2))
def test_lemma_4_1_the_estimators_mean_is_the_gradient(
    values: list[float], baseline: float
) -> None:
    theta = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(-expected_reward(theta), theta)
    with torch.no_grad():
        latents, weights = trajectories(theta)
    loss = torch.zeros((), dtype=torch.float64)
    for t in range(STEPS):
        step = torch.full((len(weights),), t)
        now, following = latents[t].reshape(-1, 1, 1, 1), latents[t + 1].reshape(-1, 1, 1, 1)
        # `mean` computes in float32; the formula is repeated here in float64 for exactness.
        mean = CHAIN.latent_weight[t].double() * now + CHAIN.noise_weight[t].double() * theta[t]
        log_prob = CHAIN.log_prob(following, mean, step, "sum")
        term = policy_term(
            log_prob, log_prob.detach(), reward(latents[-1]) - baseline, (0.9, 1.1), "clamp"
        )
        loss = loss + (weights * term.loss).sum()
    (estimated,) = torch.autograd.grad(loss, theta)
    torch.testing.assert_close(estimated, exact, rtol=1e-5, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(thetas, thetas)
def test_lemma_4_2_the_steps_kl_bounds_the_images(values: list[float], other: list[float]) -> None:
    theta, pretrained = torch.tensor(values), torch.tensor(other)
    mean, variance = integrate_x0(theta.double())
    reference_mean, reference_variance = integrate_x0(pretrained.double())
    of_images = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, variance.sqrt()),
        torch.distributions.Normal(reference_mean, reference_variance.sqrt()),
    )
    of_steps = CHAIN.kl(
        theta.reshape(-1, 1, 1, 1),
        pretrained.reshape(-1, 1, 1, 1),
        torch.arange(STEPS),
        "gaussian",
        "sum",
    ).sum()
    assert of_images.item() <= of_steps.item() * (1 + 1e-5) + 1e-9
