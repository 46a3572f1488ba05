"""Makes the units without a row, one run after the other or several at a time.

What processes are handed must stand in a module that they can import, and a `__main__` is none.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import as_completed
from itertools import groupby
from pathlib import Path

from benchmarks.processes import share_cores
from benchmarks.reproduce.maker import Maker, name_commit
from benchmarks.reproduce.pictures import strip_path
from benchmarks.reproduce.rows import read_row, write_row
from benchmarks.reproduce.series import SERIES, Series, Unit


def make_all(project: Path, names: list[str], deadline: float, processes: int = 1) -> None:
    """Make the units without a row.

    Args:
        project: The project's folder; the current one.
        names: Names of the series.
        deadline: By `time.time`; no unit is begun after it.
        processes: Runs at a time.
    """
    commit = name_commit(project)
    makers = {name: Maker(project, SERIES[name], commit) for name in names}
    missing = [
        unit
        for maker in makers.values()
        for unit in maker.series.units()
        if is_missing(project, maker, unit)
    ]
    runs = [[*units] for _, units in groupby(missing, key=lambda unit: unit.run)]
    if processes == 1:
        for units in runs:
            _make(project, makers[units[0].series], units, deadline)
    else:
        _make_together(project, runs, deadline, processes, commit)
    left = [unit for unit in missing if is_missing(project, makers[unit.series], unit)]
    if left:
        print(f"{len(left)} units are left; the same command goes on")


def _make_together(
    project: Path,
    runs: Sequence[Sequence[Unit]],
    deadline: float,
    processes: int,
    commit: str,
) -> None:
    """Make several runs at a time; the first error lets no further one begin."""
    pool = share_cores(processes)
    try:
        jobs = [
            pool.submit(_make_alone, project, SERIES[units[0].series], units, deadline, commit)
            for units in runs
        ]
        for job in as_completed(jobs):
            job.result()
    finally:
        pool.shutdown(cancel_futures=True)


#: The makers of a process, with the models that they have opened.
_MAKERS: dict[str, Maker] = {}


def _make_alone(
    project: Path, series: Series, units: Sequence[Unit], deadline: float, commit: str
) -> None:
    """Make a run's units in a process of its own, which keeps its open models for the next run."""
    if series.name not in _MAKERS:
        _MAKERS[series.name] = Maker(project, series, commit)
    _make(project, _MAKERS[series.name], units, deadline)


def _make(project: Path, maker: Maker, units: Sequence[Unit], deadline: float) -> None:
    """Make the units of one run, each of which goes on where the one before has ended."""
    for unit in units:
        if time.time() > deadline:
            return
        started = time.monotonic()
        write_row(project, unit, maker.make(unit))
        print(f"{unit} ({time.monotonic() - started:.0f} s)", flush=True)


def is_missing(project: Path, maker: Maker, unit: Unit) -> bool:
    """Return whether a unit has no row, that of another identity, or a row without its pictures."""
    row = read_row(project, unit)
    if row is None or row.identity != maker.identity(unit):
        return True
    return maker.series.is_pictured(unit) and not strip_path(project, unit).is_file()
