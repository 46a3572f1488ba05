"""The MLflow store of runs: its client, whether it answers, and what it has not been told.

At the start of a command a store that does not answer is refused in one line, before any work.
Later it may go away: a training of hours goes on, and the command says what MLflow lacks.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from dpok_pipeline.configuration.tracking import FILES, SERVER, TrackingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import unlock_file

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")

# Defaults of environment variables; a value that the user has set stays. By default MLflow tries
# for many minutes to reach a server that is away.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
# A LoRA of the registry is small: no bar for each of its downloads.
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
# At the start nobody wants to wait half a minute to hear of a wrong address.
PATIENCE_AT_START = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
}
SECONDS_FOR_A_LOCK = 3.0
# The first command makes a database's tables, which takes some seconds; a second one waits.
SECONDS_FOR_TABLES = 120.0
# After a failure that took long, ten times as long passes before the next step is told: waiting for
# a server that hangs then takes a tenth of a training's time at most.
LONG, PAUSE = 1.0, 10.0

# Loggers of statements that failed, and of connections that are tried again.
SPEAK_OF_FAILURES = ("mlflow.store.db.utils", "urllib3.connectionpool")

#: Tag of the run of a command that can be continued: the key of its journal.
JOURNAL = "journal"
#: Tag of a child run, MLflow's own: the id of the run above it.
PARENT = "mlflow.parentRunId"
#: Tag of a description in Markdown, MLflow's own, of a run or an experiment.
NOTE = "mlflow.note.content"


def client_of(uri: str) -> Any:
    """Make a client of a store; MLflow keeps the connection behind it."""
    import mlflow

    for name, value in {**PATIENCE, **QUIET}.items():
        os.environ.setdefault(name, value)
    return mlflow.MlflowClient(uri)


def connect(uri: str) -> Any:
    """Make a client of a store that has answered.

    Raises:
        InputError: The store does not answer, or is no store of MLflow's.
    """
    with _first_connection(uri), in_one_line(), _patience_at_start():
        client_of(uri).search_experiments(max_results=1)
    return client_of(uri)


@contextmanager
def in_one_line() -> Iterator[None]:
    """End the command in one line if MLflow fails.

    Raises:
        InputError: MLflow does not answer, or refuses what it is told.
    """
    try:
        with _quiet_libraries():
            yield
    except _failures() as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        raise InputError(
            f"MLflow does not answer ({reason_of(error)}); start its server, or correct "
            f"{SERVER} or {FILES}, and give the same command again"
        ) from error


def reason_of(error: BaseException) -> str:
    """Return the first line of what MLflow says of a failure."""
    return str(error).strip().partition("\n")[0]


def find_run(client: Any, config: TrackingConfig, key: str) -> str | None:
    """Return the id of the run that carries the key of a journal; None if MLflow has none."""
    experiment = client.get_experiment_by_name(config.experiment_name)
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.{JOURNAL} = '{key}'")
    return str(runs[0].info.run_id) if runs else None


def end_run(client: Any, run_id: str, status: str) -> None:
    """End a command's run and its child runs, as far as they are still open."""
    info = client.get_run(run_id).info
    condition = f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'RUNNING'"
    for child in client.search_runs([info.experiment_id], condition):
        client.set_terminated(child.info.run_id, status)
    if info.status == "RUNNING":
        client.set_terminated(run_id, status)


class Messenger:
    """Tells MLflow what happens in a run, and remembers what it could not be told.

    MLflow is a view of a run: the catalog has every number. A store that goes away in mid-run
    therefore does not end the run.
    """

    def __init__(self) -> None:
        self._missing: dict[str, None] = {}
        self._next_try = 0.0
        # System metrics are told from a thread of their own, one message at a time.
        self._lock = threading.RLock()
        self._depth = 0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds that this process has spent on tracking, in `tell` and `timed`."""
        return self._seconds

    def begin(self) -> None:
        """Forget what an earlier command of this process could not tell."""
        self._missing, self._next_try = {}, 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of a block as spent on tracking; a block within another counts once."""
        with self._lock:
            started = time.monotonic()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._seconds += time.monotonic() - started

    def tell(
        self, uri: str, what: str, send: Callable[[], Answer], *, often: bool = False
    ) -> Answer | None:
        """Tell MLflow something; if that fails, warn once in a command and go on.

        Args:
            uri: Address of the store.
            what: Name of what MLflow lacks if it cannot be told, such as `metrics of color dpok`.
            send: Function that makes the calls.
            often: Whether this is told at every step, so that it may be left out for a while after
                a failure.

        Returns:
            What the function returns; None if MLflow is away.

        Raises:
            OSError: The disk is full.
        """
        with self.timed():
            return self._tell(uri, what, send, often)

    def _tell(self, uri: str, what: str, send: Callable[[], Answer], often: bool) -> Answer | None:
        started = time.monotonic()
        if often and started < self._next_try:
            self._missing[what] = None
            return None
        try:
            check_present(uri)
            with _quiet_libraries():
                return send()
        except _failures() as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            seconds = time.monotonic() - started
            if seconds > LONG:
                self._next_try = time.monotonic() + PAUSE * seconds
            if not self._missing:
                logger.warning(
                    "MLflow does not take what it is told (%s) and will lack %s; the run goes on "
                    "and tries again, and the catalog has every number",
                    reason_of(error),
                    what,
                )
            self._missing[what] = None
            return None

    def conclude(self) -> None:
        """Say once more, at the end of a command, what MLflow lacks."""
        if self._missing:
            logger.warning(
                "MLflow was away and lacks, in whole or in part: %s. The catalog has all of it",
                "; ".join(self._missing),
            )
        self.begin()


#: The messenger of this process; what it remembers belongs to the command that is running.
MESSENGER = Messenger()


def _failures() -> tuple[type[Exception], ...]:
    """List the exceptions by which MLflow says that a store fails."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # Exceptions of the HTTP client are OSErrors. The driver of a database may not be installed.
    return (MlflowException, SQLAlchemyError, OSError, ImportError)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep libraries from logging, with tracebacks, a failure that is then said in one line."""
    loggers = [logging.getLogger(name) for name in SPEAK_OF_FAILURES]
    levels = [other.level for other in loggers]
    for other in loggers:
        other.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for other, level in zip(loggers, levels, strict=True):
            other.setLevel(level)


@contextmanager
def _patience_at_start() -> Iterator[None]:
    """Shorten MLflow's waiting, but for what the user has set."""
    set_here = {name: value for name, value in PATIENCE_AT_START.items() if name not in os.environ}
    os.environ.update(set_here)
    try:
        yield
    finally:
        for name in set_here:
            os.environ.pop(name, None)


@contextmanager
def _first_connection(uri: str) -> Iterator[None]:
    """Check a store that is a database, and let one command at a time make a new one's tables.

    Raises:
        InputError: The database cannot be opened.
    """
    path = _sqlite_file(uri)
    if path is None:
        if "://" in uri and not uri.startswith(("http", "file", "databricks")):
            _try_database(uri)
        yield
        return
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path.parent}: {_REMEDY % 'no folder that can be written to'}")
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    lock.acquire(timeout=SECONDS_FOR_TABLES)
    try:
        _check_sqlite(path)
        yield
    finally:
        unlock_file(lock)


_REMEDY = f"%s, so that MLflow cannot keep runs; mend or remove it, or correct {SERVER} or {FILES}"


def _check_sqlite(path: Path) -> None:
    """Open a database for writing, which MLflow would try for minutes if it cannot be done.

    Raises:
        InputError: It is damaged, no database, locked or write-protected.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise InputError(f"{path}: {_REMEDY % 'not a file'}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise InputError(f"{path}: {_REMEDY % 'no permission to read and write it'}")
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS_FOR_A_LOCK)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT name FROM sqlite_master").fetchall()
            database.rollback()
    except sqlite3.Error as error:
        raise InputError(f"{path}: {_REMEDY % error}") from None


def _try_database(uri: str) -> None:
    """Open one connection to a database server.

    Raises:
        InputError: It does not answer.
    """
    from mlflow.store.db.utils import create_sqlalchemy_engine

    with in_one_line(), create_sqlalchemy_engine(uri).connect():
        pass


def check_present(uri: str) -> None:
    """Raise if the file of a database is gone: an open connection would write into nothing."""
    path = _sqlite_file(uri)
    if path is not None and not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "its database is gone", str(path))


def _sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for another store, and for one in memory."""
    scheme, separator, rest = uri.partition(":///")
    if not separator or scheme.partition("+")[0] != "sqlite":
        return None
    name = rest.partition("?")[0]
    return Path(name) if name and name != ":memory:" else None
