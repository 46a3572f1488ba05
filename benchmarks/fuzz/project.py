"""A tiny project in which cases are tried, in this process or as whole commands."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from tests.project import make_project

from benchmarks.fuzz.cases import Case, apply_edit
from dpok_pipeline.commands.quiet import silence_notices
from dpok_pipeline.runs.runner import ContinuingRunner

ROOT = Path(__file__).parents[2]
#: Seconds after which a case is given up.
LONGEST = 30.0
FORK = multiprocessing.get_context("fork")
Look = Callable[[Pipeline, CatalogProtocol], dict[str, Any]]


class Stopped(Exception):
    """Ends a run in which everything has been checked."""


class StoppingContinuingRunner(ContinuingRunner):
    """Stops before the first node, and shows the case what has arrived."""

    look: ClassVar[Look] = staticmethod(lambda pipeline, catalog: {})
    seen: ClassVar[dict[str, Any]] = {}

    def run(self, pipeline: Pipeline, catalog: CatalogProtocol, *_: Any, **__: Any) -> Any:
        """Raise `Stopped`."""
        type(self).seen = type(self).look(pipeline, catalog)
        raise Stopped


RUNNER = f"{__name__}.{StoppingContinuingRunner.__name__}"


@dataclass
class Outcome:
    """How a command ended.

    Attributes:
        status: Exit status; 0 is also that of a command that was stopped before its first node.
        output: All that it has said, log and both streams.
        errors: What it has said on standard error.
        seconds: How long it took.
        written: Files and folders that it has made, changed or removed.
        failure: The exception that has come through, if there is one.
        seen: What has arrived.
    """

    status: int
    output: str
    errors: str
    seconds: float
    written: list[str]
    failure: str = ""
    seen: dict[str, Any] = field(default_factory=dict)


class Project:
    """A project in a temporary folder; leaving the block goes back to the folder before.

    Args:
        folder: A folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        silence_notices()
        os.environ["DO_NOT_TRACK"] = "true"
        self.template = make_project(folder / "template")
        self.root = folder / "dpok-pipeline"
        shutil.copytree(self.template, self.root)

    def __enter__(self) -> Project:
        self._before = Path.cwd(), sys.dont_write_bytecode
        sys.dont_write_bytecode = True
        os.chdir(self.root)
        torch.set_num_threads(1)  # A fork does not take torch's other threads along.
        self._metadata = bootstrap_project(self.root)
        return self

    def __exit__(self, *_: object) -> None:
        folder, sys.dont_write_bytecode = self._before
        os.chdir(folder)

    def run(self, case: Case, look: Look) -> Outcome:
        """Give the case's command in this process, and stop it before its first node."""
        from dpok_pipeline.cli import cli

        StoppingContinuingRunner.look, StoppingContinuingRunner.seen = staticmethod(look), {}
        options = ["run", "--env", case.env, "--runner", RUNNER, *case.options]
        # A fault of the program, as which the stop is seen, comes through.
        through = patch("dpok_pipeline.commands.errors.explain_fault", return_value=None)
        # What the first node would say of the prompts is said by the check, as no node runs.
        said = patch("dpok_pipeline.hooks.checks._said_later", nullcontext)
        with self._changed(case), _log() as log, through, said:
            before, started = self._listing(), time.monotonic()
            result = CliRunner().invoke(cli, options, obj=self._metadata)
            seconds = time.monotonic() - started
            written = _differences(before, self._listing())
        stopped = isinstance(result.exception, Stopped)
        failed = result.exception is not None and not isinstance(result.exception, SystemExit)
        return Outcome(
            0 if stopped else result.exit_code,
            log.getvalue() + result.output,
            result.stderr,
            seconds,
            written,
            _describe(result.exc_info) if failed and not stopped else "",
            StoppingContinuingRunner.seen,
        )

    def command(self, case: Case, seconds: float) -> Outcome:
        """Give the case's command as a process of its own, which runs to its end."""
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with self._changed(case):
            before, started = self._listing(), time.monotonic()
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "kedro", "run", "--env", case.env, *case.options],
                    cwd=self.root,
                    env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return Outcome(1, "", "", seconds, [], "hangs")
            took = time.monotonic() - started
            written = _differences(before, self._listing())
        return Outcome(done.returncode, done.stdout + done.stderr, done.stderr, took, written)

    @contextmanager
    def _changed(self, case: Case) -> Iterator[None]:
        try:
            for number, edit in enumerate(case.edits):
                try:
                    apply_edit(self.root, edit)
                except Exception:
                    # An earlier edit may have taken away, or damaged, what this one would change.
                    if number == 0:
                        raise
            importlib.invalidate_caches()
            yield
        finally:
            os.chdir(self.root)
            self.restore(case)

    def restore(self, case: Case) -> None:
        """Put back what a case has changed, and remove what its command has made."""
        for name in {
            _restored(edit[key]) for edit in case.edits for key in ("path", "swap") if key in edit
        }:
            for root in (self.root,):
                path = root / name
                if path.is_symlink() or path.is_file() or path.is_fifo():
                    path.unlink()
                elif path.is_dir():
                    path.chmod(0o755)
                    shutil.rmtree(path)
            original = self.template / name
            if original.is_dir():
                shutil.copytree(original, self.root / name)
            elif original.is_file():
                shutil.copy(original, self.root / name)
        for path in (self.root / "data").iterdir():
            if path.name != "01_raw":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _listing(self) -> dict[str, tuple[int, int]]:
        """List every file and folder, with what shows that it was written."""
        listing = {}
        for path in self.root.rglob("*"):
            status = path.lstat()
            listing[path.relative_to(self.root).as_posix()] = status.st_size, status.st_mtime_ns
        return listing


def _restored(name: str) -> str:
    """Return the file or folder that is copied anew: of a world's model, the whole folder."""
    parts = name.split("/")
    return "/".join(parts[:4]) if name.startswith("data/01_raw/emoji_world") else name


def _differences(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> list[str]:
    return sorted(name for name in before | after if before.get(name) != after.get(name))


@contextmanager
def _log() -> Iterator[StringIO]:
    """Collect what is logged; the handlers of conf/logging.yml hold the streams of this process."""
    log = StringIO()
    handler = logging.StreamHandler(log)
    before = {logger: logger.handlers for logger in map(logging.getLogger, ("", "dpok_pipeline"))}
    for logger in before:
        logger.handlers = [handler]
    try:
        yield log
    finally:
        for logger, handlers in before.items():
            logger.handlers = handlers


def isolated(task: Callable[[], Any]) -> Any:
    """Do something in a copy of this process, whatever it does to it, and return the result.

    Returns:
        The task's result; None if the process has ended without one, or has hung.
    """
    receiver, sender = FORK.Pipe(duplex=False)

    def work() -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # What libraries write past Python's own streams.
            os.dup2(nowhere, stream)
        sender.send(task())
        os._exit(0)

    process = FORK.Process(target=work, daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(LONGEST) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def _describe(info: Any) -> str:
    import traceback

    lines = "".join(traceback.format_exception(*info)).splitlines()
    return "\n".join(lines[-16:])
