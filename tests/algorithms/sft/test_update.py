from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.algorithms.sft.update import sft_loss, sft_weights, x0_weights


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(0, 5))
def test_sft_weights(rewards: list[float], shift: float) -> None:
    as_tensor = torch.tensor(rewards, dtype=torch.float64)
    divergence = sft_weights(as_tensor, shift, "kl_d")
    objective = sft_weights(as_tensor, shift, "kl_o")
    assert divergence.tolist() == pytest.approx([max(r + shift, 0) for r in rewards])
    assert objective.tolist() == pytest.approx([max(r, 0) for r in rewards])
    plain = sft_weights(as_tensor, 0.0, "kl_d")
    assert torch.equal(plain, sft_weights(as_tensor, 0.0, "kl_o"))


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
