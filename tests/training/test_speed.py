"""How fast a training is: what is counted, against what, and that it disturbs nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import attached_lora
from dpok_pipeline.diffusion.sampler import sample
from dpok_pipeline.training.monitoring import speed
from dpok_pipeline.training.monitoring.filmstrip import NOISES
from dpok_pipeline.training.monitoring.speed import Speed, matmul_rate, unet_flops
from dpok_pipeline.training.scoring import reward_metrics
from tests.algorithms.support import LORA, SAMPLING, run_dpok


def test_the_share_is_that_of_the_passes_that_were_made(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr(speed, "_machine_rate", lambda *_: 1e6)
    # Tiny models of several tests are told to have the same content.
    monkeypatch.setattr(speed, "_COUNTED", {})
    with attached_lora(tiny_model.unet, LORA, seed=0):
        forward, with_gradient = unet_flops(tiny_model)
        # The frozen weights need no gradients: the backward pass costs no more than the forward.
        assert with_gradient / forward == pytest.approx(2, abs=0.2)
        assert tiny_model.passes.forward == 0
        speed._counted(tiny_model)
        monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
        measured = Speed(tiny_model)
        sample(tiny_model, ["a cat"] * 2, SAMPLING, seed=0, indices=range(2))
        rows = 2 * 2 * SAMPLING.ddim_steps  # guidance doubles them
        assert measured.read() == {"perf/share_of_machine": forward * rows / 4 / 1e6}
        assert measured.read() == {"perf/share_of_machine": 0}


def test_a_training_counts_its_updates(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    run_dpok(tiny_model, tmp_path, iterations=1)
    # Two updates of eight guided transitions; the reference policy's are forward passes alone.
    assert tiny_model.passes.with_gradient == 2 * 8 * 2
    # A rollout of four images in three steps, two frames in two steps; the updates' reference.
    assert tiny_model.passes.forward == (4 * 3 + 2 * NOISES * 2) * 2 + 2 * 8 * 2


def test_the_machine_is_measured_in_little_time_and_takes_no_random_number() -> None:
    before, started = torch.get_rng_state(), time.perf_counter()
    rate = matmul_rate(torch.device("cpu"), torch.float32, (64, 128, 16384), seconds=0.1)
    assert time.perf_counter() - started < 5  # the largest would take minutes
    assert rate > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_the_interval_of_a_rollouts_rewards() -> None:
    metrics = reward_metrics(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    # s = 1.29099, and Student's t for three degrees of freedom is 3.1824.
    assert float(metrics["reward/high"]) == pytest.approx(1.5 + 3.1824 * 1.29099 / 2, rel=0.01)
    assert float(metrics["reward/low"]) == pytest.approx(1.5 - 3.1824 * 1.29099 / 2, abs=0.02)
    alone = reward_metrics(torch.tensor([2.0]))
    assert float(alone["reward/low"]) == float(alone["reward/high"]) == 2
