"""Reckon what Stable Diffusion v1.5 takes on 1 to 64 GPUs: `python -m benchmarks.scale`.

It is a model of rates (benchmarks/scale/rates.py), no measurement. `--write` puts the tables of
the defaults into docs/scale.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from kedro.utils import find_kedro_project

from benchmarks.scale.page import PRICE, fill_page, page_text, tables
from benchmarks.scale.rates import PEAK, rates_of
from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.errors import InputError

PAGE = Path("docs", "scale.md")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--gpu", default="a100", choices=PEAK, help="kind of GPU; a100 otherwise")
    parser.add_argument(
        "--price", type=float, default=PRICE, help="of one GPU for an hour, in any currency"
    )
    parser.add_argument(
        "--network", type=float, default=25.0, help="Gbit/s between machines; 25 otherwise"
    )
    parser.add_argument("--machine-gpus", type=int, default=8, help="GPUs of a machine")
    parser.add_argument(
        "--params", default="", help="as for `kedro run --env paper`, e.g. preset=efficient"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the tables of the defaults into docs/scale.md"
    )
    return parser.parse_args()


def main() -> None:
    """Print the tables, or write those of the defaults."""
    arguments = parse()
    project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
    with one_line_errors():
        if min(arguments.price, arguments.network, arguments.machine_gpus) <= 0:
            raise InputError("--price, --network, --machine-gpus: give numbers above 0")
        if arguments.write:
            page = project / PAGE
            filled = fill_page(page.read_text(encoding="utf-8"), page_text(project))
            page.write_text(filled, encoding="utf-8")
            return
        rates = replace(
            rates_of(arguments.gpu),
            network_bytes=arguments.network * 1e9 / 8,
            machine_gpus=arguments.machine_gpus,
        )
        print(tables(project, rates, arguments.price, arguments.params))


if __name__ == "__main__":
    main()
