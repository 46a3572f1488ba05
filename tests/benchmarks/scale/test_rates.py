from __future__ import annotations

from typing import Any

import pytest
import torch
from benchmarks.scale.rates import Rates, rates_of
from benchmarks.scale.training import LORA_BY_RANK
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scale import rates as published


def test_the_networks_cost_what_is_written_down() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from peft import LoraConfig

    def tera_flop(function: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            function()
        return float(counter.get_total_flops() / 1e12)

    blocks = 4
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).requires_grad_(False)
        decoder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            layers_per_block=2,
        )
        latent, text, time = torch.empty(1, 4, 64, 64), torch.empty(1, 77, 768), torch.empty(1)
        with torch.no_grad():
            assert tera_flop(lambda: unet(latent, time, text)) == pytest.approx(
                published.FORWARD, abs=5e-4
            )
            assert tera_flop(lambda: decoder.decode(latent)) == pytest.approx(
                published.DECODE, abs=5e-4
            )
        unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        learned = [weight for name, weight in unet.named_parameters() if "lora" in name]
        for weight in learned:
            weight.requires_grad_(True)
        loss = unet(latent, time, text).sample.sum()
        assert tera_flop(loss.backward) == pytest.approx(published.BACKWARD, abs=5e-4)
    assert sum(weight.numel() for weight in learned) == 4 * LORA_BY_RANK == 797_184


def test_passes_take_what_was_published() -> None:
    rates = rates_of("a100")
    assert 1 / rates.pass_seconds(1) == pytest.approx(23.13)
    assert 1 / rates.pass_seconds(16) == pytest.approx(3.6)
    # 13.12 steps per second are published for four images; two numbers do not fit all three.
    assert 13.12 < 1 / rates.pass_seconds(4) < 1.1 * 13.12
    # The share of the peak that everything computed from FLOPs is assumed to reach.
    reached = 16 * 2 * published.FORWARD * 3.6
    assert reached / published.PEAK["a100"] == pytest.approx(0.30, abs=0.005)
    assert published.DECODE / rates.decode_seconds == pytest.approx(reached)


def test_rows_go_through_in_batches() -> None:
    rates = Rates(launch_seconds=3, row_seconds=1)
    assert rates.forward_seconds(8, 4) == 4 + 4
    assert rates.forward_seconds(9, 4) == 4 + 4 + 3  # the last one is as slow as three rows
    assert rates.forward_seconds(8, 8, halves=1) == 4  # without guidance half of the passes
    assert rates.forward_seconds(0, 4) == 0


def test_another_gpu_is_launched_as_slowly() -> None:
    a100, h200 = rates_of("a100"), rates_of("h200")
    assert a100 == Rates()
    assert h200.launch_seconds == a100.launch_seconds
    assert h200.pass_seconds(100) == pytest.approx(a100.pass_seconds(100) * 312 / 989)


def test_what_a_gathering_takes() -> None:
    rates = Rates(
        latency_seconds=1,
        network_latency_seconds=10,
        gloo_bytes=100,
        network_bytes=50,
        machine_gpus=4,
    )
    assert rates.gather_seconds(1, 600, messages=7) == 0
    # Two members: one message each way, and each receives the other's half.
    assert rates.gather_seconds(2, 600, messages=7) == 7 + 300 / 100
    assert rates.gather_seconds(4, 600, messages=1) == 3 + 450 / 100
    # Beyond one machine, each of five messages takes 11 s, and bytes come at the network's rate.
    assert rates.gather_seconds(6, 600, messages=1) == 5 * 11 + 500 / 50
