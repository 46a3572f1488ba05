"""The paper's figures on EmojiWorld: `python -m benchmarks.reproduce [curve] [--minutes 170]`.

Every unit, a method trained on one prompt from so many images by one training seed, leaves a row
of figures in `benchmarks/results/reproduce`, which is in git, and is not made again unless what
decides it has changed. The command goes on with the units that have no row; stopped in any way, it
is simply given again. At the end it writes `docs/results.md` from all rows that there are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.page import write_page
from benchmarks.reproduce.pictures import strip_path
from benchmarks.reproduce.rows import read_row, write_row
from benchmarks.reproduce.series import SERIES, Unit
from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.errors import InputError


def main() -> None:
    """Make units until all are there or the time is over, then write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "series", nargs="*", help=f"what to measure: {', '.join(SERIES)}; all otherwise"
    )
    parser.add_argument("--minutes", type=float, help="begin no unit after so many minutes")
    parser.add_argument(
        "--page", action="store_true", help="make nothing, write the page from the rows"
    )
    arguments = parser.parse_args()
    with one_line_errors():
        names = arguments.series or [*SERIES]
        if unknown := [name for name in names if name not in SERIES]:
            raise InputError(f"{unknown[0]}: no such series; there are {', '.join(SERIES)}")
        limit = float("inf") if arguments.minutes is None else arguments.minutes
        if not arguments.page:
            make_all(Path(), names, time.monotonic() + 60 * limit)
        print(write_page(Path()))


def make_all(project: Path, names: list[str], deadline: float) -> None:
    """Make the units without a row.

    Args:
        project: The project's folder; the current one.
        names: Names of the series.
        deadline: By `time.monotonic`; no unit is begun after it.
    """
    makers = {name: Maker(project, SERIES[name]) for name in names}
    missing = [
        unit
        for maker in makers.values()
        for unit in maker.series.units()
        if _is_missing(project, maker, unit)
    ]
    for number, unit in enumerate(missing, start=1):
        if time.monotonic() > deadline:
            print(f"{len(missing) - number + 1} units are left; the same command goes on")
            return
        print(f"[{number}/{len(missing)}] {unit}", flush=True)
        write_row(project, unit, makers[unit.series].make(unit))


def _is_missing(project: Path, maker: Maker, unit: Unit) -> bool:
    row = read_row(project, unit)
    if row is None or row.identity != maker.identity(unit):
        return True
    return maker.series.is_pictured(unit) and not strip_path(project, unit).is_file()


if __name__ == "__main__":
    main()
