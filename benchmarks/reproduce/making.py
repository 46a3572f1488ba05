"""Makes the units without a row, one after the other or several at a time.

What processes are handed must stand in a module that they can import, and a `__main__` is none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from itertools import groupby
from pathlib import Path
from typing import Self

from benchmarks.processes import share_cores
from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.pictures import strip_path
from benchmarks.reproduce.rows import read_row, write_row
from benchmarks.reproduce.series import SERIES, Series, Unit


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
        if is_missing(project, maker, unit)
    ]
    with _Together(project, makers, processes) as together:
        for _, units in groupby(missing, key=lambda unit: (unit.series, unit.images)):
            together.make([*units], deadline)
    left = [unit for unit in missing if is_missing(project, makers[unit.series], unit)]
    if left:
        print(f"{len(left)} units are left; the same command goes on")


class _Together:
    """Makes units, several at a time where there are processes for it."""

    def __init__(self, project: Path, makers: Mapping[str, Maker], processes: int) -> None:
        self._project, self._makers = project, makers
        self._pool = share_cores(processes) if processes > 1 else None

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


def is_missing(project: Path, maker: Maker, unit: Unit) -> bool:
    """Return whether a unit has no row, that of another identity, or a row without its pictures."""
    row = read_row(project, unit)
    if row is None or row.identity != maker.identity(unit):
        return True
    return maker.series.is_pictured(unit) and not strip_path(project, unit).is_file()
