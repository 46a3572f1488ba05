"""Timing, counting and the limit: the rate of plain matrix products in the same run."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

MATMUL_SIZES = (1024, 2048, 3072, 4096)


@dataclass(frozen=True)
class Measurement:
    """One benchmark's numbers.

    Attributes:
        name: What ran.
        unit: What is counted.
        per_second: Units per second, the best of the repeats.
        seconds: Duration of that call, which makes all its units.
        flops: Floating-point operations per unit, recomputation not counted.
        peak_bytes: Highest memory of the device (CUDA), or of the process so far (CPU).
    """

    name: str
    unit: str
    per_second: float
    seconds: float
    flops: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Floating-point operations per second that were reached."""
        return self.per_second * self.flops


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of square matrix products, the best of five over several sizes.

    With the number type, device and threads of the networks it is what they could reach at most.
    """
    rates = []
    for size in MATMUL_SIZES:
        left, right = torch.randn(2, size, size, device=device).to(dtype)
        seconds = best_seconds(lambda a=left, b=right: a @ b, device, repeats=5)  # type: ignore[misc]
        rates.append(2 * size**3 / seconds)
    return max(rates)


def count_flops(function: Callable[[], object]) -> int:
    """Count the operations of matrix products, convolutions and attention in one call."""
    # Counted in the compiled networks, they would be compiled for counting, and be slow afterwards.
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory since `reset_peak`, or of a CPU process since it began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak(device: torch.device) -> None:
    """Begin a new peak, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def measure(
    name: str,
    unit: str,
    units: int,
    function: Callable[[], object],
    device: torch.device,
    repeats: int,
) -> Measurement:
    """Count the operations of a function, then time it.

    Args:
        name: Name of the case.
        unit: What the function makes.
        units: How many of them it makes.
        function: What is measured.
        device: The device that it runs on.
        repeats: Number of timed calls.
    """
    flops = count_flops(function) / units
    reset_peak(device)
    seconds = best_seconds(function, device, repeats)
    return Measurement(name, unit, units / seconds, seconds, flops, peak_bytes(device))


def describe_machine() -> str:
    """Name the processor, the cores that this process may use, and torch."""
    names = {
        line.partition(":")[2].strip()
        for line in _processors().splitlines()
        if line.startswith("model name")
    }
    name = min(names, default=platform.processor() or platform.machine())
    return f"{name}, {cores_and_torch()}"


def cores_and_torch() -> str:
    """Name the cores that this process may use, and torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} core(s), torch {torch.__version__}"


def _processors() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""
