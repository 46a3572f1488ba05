"""How fast a training is, against what its machine reaches in plain matrix products."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from dpok_pipeline.diffusion.base_model import DiffusionModel, Passes
from dpok_pipeline.diffusion.denoising import predict_noise
from dpok_pipeline.diffusion.lora import lora_parameters
from dpok_pipeline.diffusion.prompt_encoder import encode

MATMUL_SIZES = (1024, 2048, 3072, 4096)

# What a training takes to measure its machine: no more than so many seconds, from small products
# on, because a slow processor does not come to the large ones that a GPU needs.
_SECONDS = 0.3
_SIZES = (256, 512, *MATMUL_SIZES)

# Products of one size, the first of which is not counted.
_CALLS = 6


class Speed:
    """Measures the share of the machine's rate that a training reaches.

    Counted are the operations of the UNet, which are nearly all of them, and not those of rewards
    and of the autoencoder. Nothing that decides a number of the training depends on it.
    """

    def __init__(self, model: DiffusionModel) -> None:
        """Count a row's operations, measure the machine, and begin.

        Args:
            model: The base model with its LoRA attached.
        """
        self._passes = model.passes
        self._forward, self._with_gradient = _counted(model)
        self._limit = _machine_rate(model.device, model.precision)
        self._since = time.perf_counter()
        self._before = replace(self._passes)

    def read(self) -> dict[str, float]:
        """Return the share since it was last read, or since the beginning."""
        now, passes, before = time.perf_counter(), replace(self._passes), self._before
        flops = self._forward * (passes.forward - before.forward)
        flops += self._with_gradient * (passes.with_gradient - before.with_gradient)
        rate = flops / (now - self._since)
        self._since, self._before = now, passes
        return {"perf/share_of_machine": rate / self._limit}


# By base model, number of LoRA weights and options: what `unet_flops` has counted in this process.
_COUNTED: dict[tuple[str, int, bool], tuple[int, int]] = {}


def _counted(model: DiffusionModel) -> tuple[int, int]:
    weights = sum(parameter.numel() for parameter in lora_parameters(model.unet))
    key = (model.handle.content_hash, weights, model.options.gradient_checkpointing)
    if key not in _COUNTED:
        _COUNTED[key] = unet_flops(model)
    return _COUNTED[key]


def unet_flops(model: DiffusionModel) -> tuple[int, int]:
    """Count the operations of one row in a forward pass, and in a forward and a backward one.

    Args:
        model: The base model with its LoRA attached.
    """
    latent = torch.zeros((1, *model.latent_shape), device=model.device)
    time_step = torch.zeros(1, dtype=torch.int64, device=model.device)
    prompt = encode(model, [""])

    with model.eager() as eager:
        # Its passes are none of the training's.
        counted = replace(eager, passes=Passes())

        def predict() -> torch.Tensor:
            return predict_noise(counted, latent, time_step, prompt, prompt, guidance_scale=1)

        def learn() -> None:
            with torch.enable_grad():
                # Not `backward`, which would leave gradients to the optimiser.
                torch.autograd.grad(predict().sum(), lora_parameters(model.unet))

        with torch.no_grad():
            forward = count_flops(predict)
        return forward, count_flops(learn)


def count_flops(function: Callable[[], object]) -> int:
    """Count the operations of matrix products, convolutions and attention in one call."""
    # Counted in the compiled networks, they would be compiled for counting, and be slow afterwards.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


@lru_cache(maxsize=4)
def _machine_rate(device: torch.device, precision: str) -> float:
    """Return what a training is compared with; measured once in a process."""
    return matmul_rate(device, getattr(torch, precision), _SIZES, _SECONDS)


def matmul_rate(
    device: torch.device,
    dtype: torch.dtype,
    sizes: Sequence[int] = MATMUL_SIZES,
    seconds: float = math.inf,
) -> float:
    """Return the FLOP/s of square matrix products, the best of five over several sizes.

    With the number type, device and threads of the networks it is what they could reach at most.

    Args:
        device: Where they are computed.
        dtype: Their number type.
        sizes: Sides of the matrices, the smallest first; that is tried in any case.
        seconds: Time that all may take; larger sizes are left out for it.
    """
    generator = torch.Generator().manual_seed(0)  # its own: the global one belongs to training
    best, left = 0.0, seconds
    for size in sizes:
        flops = 2 * size**3
        if best and _CALLS * flops / best > left:
            break
        started = time.perf_counter()
        left_side, right = torch.randn(2, size, size, generator=generator).to(device, dtype)
        fastest = best_seconds(lambda a=left_side, b=right: a @ b, device, _CALLS - 1)  # type: ignore[misc]
        best = max(best, flops / fastest)
        left -= time.perf_counter() - started
    return best


def best_seconds(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the shortest wall time of some calls, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        synchronise(device)
        started = time.perf_counter()
        function()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
