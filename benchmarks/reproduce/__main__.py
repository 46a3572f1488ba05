"""The paper's figures on EmojiWorld: `python -m benchmarks.reproduce [curve] [--processes 2]`.

Every unit, a method trained on one prompt from so many images by one training seed, leaves a row
of figures in `benchmarks/results/reproduce`, which is in git, and is not made again unless its
settings or models have changed; its code is named by commit and not compared. The command goes on
with the units that have no row; stopped in any way, it is simply given again. At the end it writes
`docs/results.md` from all rows that there are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.reproduce.making import make_all
from benchmarks.reproduce.page.write import write_page
from benchmarks.reproduce.series import SERIES
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
        "--processes", type=int, default=1, help="runs at a time, which share the cores"
    )
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
            make_all(Path(), names, time.time() + 60 * limit, arguments.processes)
        print(write_page(Path()))


if __name__ == "__main__":
    main()
