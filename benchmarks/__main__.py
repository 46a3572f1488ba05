"""Measure the engine with an environment's numbers: `python -m benchmarks --env paper …`.

Each line gives the share of the rate that plain matrix products of the same number type reach in
the same run: the distance to what the machine can do.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.cases import Setting, run_cases
from benchmarks.configured import Configured, random_places, read
from benchmarks.measure import Measurement, matmul_rate


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--env", default="base", help="environment in conf")
    parser.add_argument(
        "--params", default="", help="as for `kedro run`, e.g. rl_training.microbatch=16"
    )
    parser.add_argument(
        "--random",
        type=Path,
        metavar="DATA",
        help="Stable Diffusion v1.5 and ImageReward with random weights, from the published "
        "configurations in this folder (benchmarks/random_models.py); with --env paper",
    )
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"), help="keeps those")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's default otherwise")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls, the best counts")
    parser.add_argument("--json", type=Path, help="also write the numbers to a file")
    return parser.parse_args()


def main() -> None:
    """Run every case and print the table."""
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    params = arguments.params
    if arguments.random:
        params = ",".join(filter(None, [random_places(arguments.random, arguments.work), params]))
    configured = read(arguments.env, params)
    model, reward = configured.open(device)
    limit = matmul_rate(device, getattr(torch, model.precision))
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else ""
    print(f"{configured.base_model} in {model.precision} on {device_name(device)} {threads}")
    print(f"matrix products: {limit / 1e9:,.0f} GFLOP/s")
    measurements = run_cases(model, reward, setting_of(configured, arguments.repeats))
    print(table(measurements, limit))
    if arguments.json:
        write_json(arguments, measurements, limit, device)


def setting_of(configured: Configured, repeats: int) -> Setting:
    """What the cases take of an environment."""
    return Setting(
        sampling=configured.sampling,
        lora=configured.lora,
        rl=configured.rl,
        sft=configured.sft,
        repeats=repeats,
    )


def device_name(device: torch.device) -> str:
    """What the machine calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def table(measurements: list[Measurement], limit: float) -> str:
    """One line per case."""
    heads = ("per second", "seconds", "GFLOP each", "GFLOP/s", "of limit", "peak")
    lines = [f"{'case':<12}" + "{:>23}{:>10}{:>12}{:>10}{:>10}{:>10}".format(*heads)]
    for found in measurements:
        lines.append(
            f"{found.name:<12} {found.per_second:>12,.2f} {found.unit + 's':<11}"
            f"{found.seconds:>9,.2f}{found.flops / 1e9:>12,.2f}{found.rate / 1e9:>10,.0f}"
            f"{found.rate / limit:>10.0%}{found.peak_bytes / 2**30:>7.2f} GB"
        )
    return "\n".join(lines)


def write_json(
    arguments: argparse.Namespace,
    measurements: list[Measurement],
    limit: float,
    device: torch.device,
) -> None:
    """Numbers and what they were measured with, for comparison between machines and commits."""
    document = {
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "json"},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matmul_flop_per_second": limit,
        "cases": [
            {**asdict(found), "share_of_matmul": found.rate / limit} for found in measurements
        ],
    }
    arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
