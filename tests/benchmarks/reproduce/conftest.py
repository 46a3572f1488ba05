"""A small series that has been measured in a project of a tiny world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.reproduce.making import make_all
from benchmarks.reproduce.series import SERIES, Pictured, Series

from tests.project import make_project

TWO = ("color", "count")
PICTURED = (Pictured((16,), 0, TWO),)
SMALL = Series("small", "smoke", ("sft", "dpok"), (8, 16), {0: 16, 1: 8}, TWO, pictured=PICTURED)


@contextmanager
def _at_home(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(SERIES, "small", SMALL)
        yield


@pytest.fixture(scope="session")
def _measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("reproduce") / "dpok-pipeline")
    with _at_home(folder):
        make_all(Path(), ["small"], deadline=float("inf"))
    return folder


@pytest.fixture
def made(_measured: Path) -> Iterator[Path]:
    """The project's folder, which is the current one, with the series' rows."""
    with _at_home(_measured):
        yield _measured
