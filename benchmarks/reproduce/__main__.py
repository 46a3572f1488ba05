"""The paper's figures on EmojiWorld: `python -m benchmarks.reproduce [curve] [--processes 2]`.

Every unit, a method trained on one prompt from so many images by one training seed, leaves a row
of figures in `benchmarks/results/reproduce`, which is in git, and is not made again unless what
decides it has changed. The command goes on with the units that have no row; stopped in any way, it
is simply given again. At the end it writes `docs/results.md` from all rows that there are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from typing import Self

from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.page import write_page
from benchmarks.reproduce.pictures import strip_path
from benchmarks.reproduce.rows import read_row, write_row
from benchmarks.reproduce.series import SERIES, Series, Unit
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
        "--processes", type=int, default=1, help="units at a time, which share the cores"
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


def make_all(project: Path, names: list[str], deadline: float, processes: int = 1) -> None:
    """Make the units without a row.

    Args:
        project: The project's folder; the current one.
        names: Names of the series.
        deadline: By `time.time`; no unit is begun after it.
        processes: Units at a time. A run's larger units wait for its smaller ones.
    """
    makers = {name: Maker(project, SERIES[name]) for name in names}
    missing = [
        unit
        for maker in makers.values()
        for unit in maker.series.units()
        if _is_missing(project, maker, unit)
    ]
    with _Together(project, makers, processes) as together:
        for _, units in groupby(missing, key=lambda unit: (unit.series, unit.images)):
            together.make([*units], deadline)
    left = [unit for unit in missing if _is_missing(project, makers[unit.series], unit)]
    if left:
        print(f"{len(left)} units are left; the same command goes on")


class _Together:
    """Makes units, several at a time where there are processes for it."""

    def __init__(self, project: Path, makers: Mapping[str, Maker], processes: int) -> None:
        self._project, self._makers = project, makers
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1:
            self._pool = ProcessPoolExecutor(
                processes,
                multiprocessing.get_context("spawn"),
                initializer=_share_cores,
                initargs=(max(1, (os.cpu_count() or 1) // processes),),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def make(self, units: Sequence[Unit], deadline: float) -> None:
        """Make units of one size, none of which needs another."""
        if self._pool is None:
            for unit in units:
                _make(self._project, self._makers[unit.series], unit, deadline)
            return
        jobs = [
            self._pool.submit(
                _make_alone, self._project, self._makers[unit.series].series, unit, deadline
            )
            for unit in units
        ]
        for job in as_completed(jobs):
            job.result()


def _share_cores(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


#: The makers of a process, with the models that they have opened.
_MAKERS: dict[str, Maker] = {}


def _make_alone(project: Path, series: Series, unit: Unit, deadline: float) -> None:
    """Make a unit in a process of its own, which keeps its open models for the next one."""
    if series.name not in _MAKERS:
        _MAKERS[series.name] = Maker(project, series)
    _make(project, _MAKERS[series.name], unit, deadline)


def _make(project: Path, maker: Maker, unit: Unit, deadline: float) -> None:
    if time.time() > deadline:
        return
    started = time.monotonic()
    write_row(project, unit, maker.make(unit))
    print(f"{unit} ({time.monotonic() - started:.0f} s)", flush=True)


def _is_missing(project: Path, maker: Maker, unit: Unit) -> bool:
    row = read_row(project, unit)
    if row is None or row.identity != maker.identity(unit):
        return True
    return maker.series.is_pictured(unit) and not strip_path(project, unit).is_file()


if __name__ == "__main__":
    main()
