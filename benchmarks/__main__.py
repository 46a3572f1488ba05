"""Measure the engine: `python -m benchmarks [MODEL_FOLDER] [--precision bfloat16] …`.

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
from benchmarks.measure import Measurement, matmul_rate
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.diffusion.config import SamplingConfig

EMOJI_WORLD = "data/01_raw/emoji_world/base_model"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("model", nargs="?", default=EMOJI_WORLD, help="folder or hub id")
    parser.add_argument("--revision", help="the hub's commit")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision", default="bfloat16", choices=("float32", "bfloat16", "float16")
    )
    parser.add_argument("--threads", type=int, help="CPU threads; torch's default otherwise")
    parser.add_argument("--images", type=int, default=32, help="images per rollout")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps")
    parser.add_argument("--guidance", type=float, default=3.0, help="guidance scale")
    parser.add_argument("--rows", type=int, default=128, help="transitions per update")
    parser.add_argument("--microbatch", type=int, default=128, help="rows at once")
    parser.add_argument("--rank", type=int, default=8, help="LoRA rank")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls, the best counts")
    parser.add_argument("--json", type=Path, help="also write the numbers to a file")
    return parser.parse_args()


def main() -> None:
    """Run every case and print the table."""
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    setting = Setting(
        images=arguments.images,
        rows=arguments.rows,
        microbatch=arguments.microbatch,
        rank=arguments.rank,
        sampling=SamplingConfig(ddim_steps=arguments.steps, guidance_scale=arguments.guidance),
        repeats=arguments.repeats,
    )
    handle = describe_base_model(arguments.model, arguments.revision)
    model = load_base_model(handle, device, arguments.precision)
    limit = matmul_rate(device, getattr(torch, arguments.precision))
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else ""
    print(f"{arguments.model} in {arguments.precision} on {device_name(device)} {threads}")
    print(f"matrix products: {limit / 1e9:,.0f} GFLOP/s")
    measurements = run_cases(model, setting)
    print(table(measurements, limit))
    if arguments.json:
        write_json(arguments, measurements, limit, device)


def device_name(device: torch.device) -> str:
    """What the machine calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def table(measurements: list[Measurement], limit: float) -> str:
    """One line per case."""
    heads = ("per second", "GFLOP each", "GFLOP/s", "of limit", "peak")
    lines = [f"{'case':<12}" + "{:>23}{:>11}{:>10}{:>10}{:>10}".format(*heads)]
    for found in measurements:
        lines.append(
            f"{found.name:<12} {found.per_second:>12,.2f} {found.unit + 's':<11}"
            f"{found.flops / 1e9:>9,.2f}{found.rate / 1e9:>10,.0f}{found.rate / limit:>10.0%}"
            f"{found.peak_bytes / 2**30:>7.2f} GB"
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
