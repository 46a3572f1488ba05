"""Fixtures that every part's tests may use."""

from __future__ import annotations

import functools
import inspect
import os
import sqlite3
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import tiny

if TYPE_CHECKING:
    from dpok_pipeline.configuration.selection import Selection
    from dpok_pipeline.diffusion.base_model import DiffusionModel


ROOT = Path(__file__).parents[1]
#: Folders of tests that mirror the engine, whose coverage `make test` measures.
ENGINE = frozenset(("files", "diffusion", "rewards", "training", "algorithms", "evaluation"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Measure coverage by the engine's own tests alone: those that draw take twice the time."""
    measured = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    if measured is None or folder in ENGINE:
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """What tests write need not outlive a power cut; processes that are killed lose nothing."""
    real = sqlite3.dbapi2.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*arguments, **options)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(sqlite3.dbapi2, "connect", connect)
        yield


@pytest.fixture(scope="session", autouse=True)
def _callers_are_named_without_their_lines() -> Iterator[None]:
    """Kedro's settings look for the outermost caller's file, and read every caller's source for it.

    Below pytest that takes half a second for each project that a test opens.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", functools.partial(inspect.stack, context=0))
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_run() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _compare_what_the_default_environment_does() -> None:
    # A command run in this process leaves Kedro with the pipelines of its environment.
    if "dpok_pipeline.configuration.selection" in sys.modules:
        from dpok_pipeline.configuration.selection import select

        select(_default_selection())


@functools.cache
def _default_selection() -> Selection:
    from dpok_pipeline.configuration import selection
    from dpok_pipeline.configuration.loader import ProjectConfigLoader
    from dpok_pipeline.settings import CONFIG_LOADER_ARGS

    loader = ProjectConfigLoader(conf_source=str(ROOT / "conf"), env="base", **CONFIG_LOADER_ARGS)
    loader["parameters"]
    return selection.current()


class CodeOnDisk:
    """Stands for the project's sources."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dpok_pipeline.hooks import journal
        from dpok_pipeline.runs import identity

        self._hash, self._in_memory = identity.hash_code(), identity.code_in_memory
        for module in (identity, journal):
            monkeypatch.setattr(module, "hash_code", lambda: self._hash)

    def edit(self, code: str) -> None:
        """Change the sources under this process."""
        self._hash = code

    def begin_with(self, code: str) -> None:
        """Change the sources, and do as if this process had begun with them."""
        self._hash = code
        self.forget()

    def forget(self) -> None:
        """Do as if this process had just begun."""
        self._in_memory.cache_clear()


@pytest.fixture
def code_on_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[CodeOnDisk]:
    """The project's sources, as a process meets them that has just begun."""
    code = CodeOnDisk(monkeypatch)
    code.forget()
    yield code
    code.forget()


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base model in diffusers' layout: 4×8×8 latents, 32×32 images, 12 tokens."""
    return tiny.write_base_model(tmp_path_factory.mktemp("tiny") / "base_model")


@pytest.fixture
def tiny_model(tiny_model_folder: Path) -> DiffusionModel:
    """The tiny model, loaded afresh: a test may attach a LoRA to it."""
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model

    return load_base_model(describe_base_model(tiny_model_folder))
