"""What a benchmark measures of a function, and the machine that it was measured on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from dpok_pipeline.training.monitoring.speed import best_seconds, count_flops


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
