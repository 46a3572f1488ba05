"""Measure the engine with an environment's numbers: `python -m benchmarks --env paper …`.

Each line gives the share of the rate that plain matrix products of the same number type reach in
the same run: the distance to what the machine can do.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.cases import Setting, is_measured, run_cases
from benchmarks.configured import Configured, random_places, read
from benchmarks.measure import Measurement
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.monitoring.speed import matmul_rate


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--env", default="base", help="environment in conf")
    parser.add_argument(
        "--params", default="", help="as for `kedro run`, e.g. rl_training.microbatch=16"
    )
    parser.add_argument(
        "--method",
        action="append",
        dest="methods",
        metavar="NAME",
        help="method of the environment, may be given several times; the first method of each "
        "algorithm otherwise",
    )
    parser.add_argument(
        "--random",
        type=Path,
        metavar="DATA",
        help="Stable Diffusion v1.5 and ImageReward with random weights, from the published "
        "configurations in this folder (benchmarks/random_models.py); with --env paper",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/benchmarks"), help="folder that keeps them"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or mps; conf's otherwise")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's default otherwise")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls, the best counts")
    parser.add_argument("--json", type=Path, help="also write the numbers to a file")
    return parser.parse_args()


def main() -> None:
    """Measure what the command line says."""
    try:
        measure_environment(parse())
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None


def measure_environment(arguments: argparse.Namespace) -> None:
    """Run every case and print the table.

    Raises:
        InputError: The environment or one of its models cannot be used.
    """
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    params = arguments.params
    if arguments.random:
        params = ",".join(filter(None, [random_places(arguments.random, arguments.work), params]))
    configured = read(arguments.env, params, device=arguments.device)
    methods = choose_methods(configured, arguments.methods)
    setting = setting_of(configured, arguments.repeats)
    model = setting.model
    limit = matmul_rate(model.device, getattr(torch, model.precision))
    threads = f"{torch.get_num_threads()} threads" if model.device.type == "cpu" else ""
    name = device_name(model.device)
    print(f"{model.handle.path} in {model.precision} on {name} {threads}")
    print(f"matrix products: {limit / 1e9:,.0f} GFLOP/s")
    measurements = run_cases(setting, methods)
    print(table(measurements, limit))
    if arguments.json:
        write_json(arguments, measurements, limit, model.device)


def choose_methods(configured: Configured, names: Sequence[str] | None = None) -> list[Method]:
    """Choose the methods to measure.

    Args:
        configured: An environment.
        names: Names of its methods; None takes the first of each algorithm that is measured.

    Raises:
        InputError: The environment has no method of a name.
    """
    if names:
        return [configured.method(name) for name in names]
    first: dict[str, Method] = {}
    for method in filter(is_measured, configured.methods.values()):
        first.setdefault(method.algorithm, method)
    return list(first.values())


def setting_of(configured: Configured, repeats: int) -> Setting:
    """Open an environment's models for the cases."""
    model, reward = configured.open()
    return Setting(model, reward, configured.sampling, repeats)


def device_name(device: torch.device) -> str:
    """Return what the machine calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def table(measurements: list[Measurement], limit: float) -> str:
    """Write one line per case."""
    width = max(len(case.name) for case in measurements)
    heads = ("per second", "seconds", "GFLOP each", "GFLOP/s", "of limit", "peak")
    lines = [f"{'case':<{width}}" + "{:>23}{:>10}{:>12}{:>10}{:>10}{:>10}".format(*heads)]
    for case in measurements:
        lines.append(
            f"{case.name:<{width}} {case.per_second:>12,.2f} {case.unit + 's':<11}"
            f"{case.seconds:>9,.2f}{case.flops / 1e9:>12,.2f}{case.rate / 1e9:>10,.0f}"
            f"{case.rate / limit:>10.0%}{case.peak_bytes / 2**30:>7.2f} GB"
        )
    return "\n".join(lines)


def write_json(
    arguments: argparse.Namespace,
    measurements: list[Measurement],
    limit: float,
    device: torch.device,
) -> None:
    """Write the numbers and what they were measured with, to compare machines and commits."""
    document = {
        "settings": {key: str(value) for key, value in vars(arguments).items() if key != "json"},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matmul_flop_per_second": limit,
        "cases": [{**asdict(case), "share_of_matmul": case.rate / limit} for case in measurements],
    }
    arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
