"""A worker process: it runs the jobs that it is sent, and tells the command all that they say."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tqdm import tqdm

from dpok_pipeline.configuration.selection import Selection, hand_over
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines import mlflow_tracker
from dpok_pipeline.team.members import Followed
from dpok_pipeline.training.signals import raise_stopped
from dpok_pipeline.training.tracking import relay_progress_to
from dpok_pipeline.workers.messages import (
    Alive,
    Done,
    Ending,
    Failed,
    Halted,
    Job,
    Line,
    Logged,
    Record,
    Stop,
)

_ALIVE_EVERY = 1.0  # seconds


class Outbox:
    """Sends messages to the command, from any thread, in the order in which they come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Putting takes no lock that a signal's handler, which logs, could wait for in vain.
        self._messages = queue.SimpleQueue[memoryview]()
        threading.Thread(target=self._send_all, daemon=True).start()

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            Exception: It cannot be pickled.
        """
        self._messages.put(ForkingPickler.dumps(message))

    def _send_all(self) -> None:
        while True:
            try:
                self._connection.send_bytes(self._messages.get())
            except OSError:
                os._exit(1)  # without a command to hear it, this process has no purpose


class _Lines:
    """A stream that sends what is printed, line by line, as a terminal would show it at last.

    A library's progress bar draws over itself: of all its drawings one line is sent.
    """

    encoding, errors = "utf-8", "replace"

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._rest = outbox, ""

    def write(self, text: str) -> int:
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[rest.rstrip("\r").rfind("\r") + 1 :]
        for line in filter(str.strip, (line.rstrip("\r").rpartition("\r")[2] for line in lines)):
            self._outbox.send(Line(line))
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


class _Records(logging.Handler):
    """Sends what is logged."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.send(Record(record.name, record.levelno, record.getMessage()))


def work(connection: Connection, levels: dict[str, int], selection: Selection) -> None:
    """Run jobs until the command is gone.

    Args:
        connection: The connection with the command.
        levels: Level of each logger, as the command has set them.
        selection: The experiments and methods of the command's environment.
    """
    # Ctrl-C goes to all processes of a terminal's group; the command tells its workers itself.
    os.setpgid(0, 0)
    # Between two jobs there is nothing to stop.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Without this tqdm makes a lock between processes, which a killed worker would leave behind.
    tqdm.set_lock(threading.RLock())
    outbox, jobs = Outbox(connection), queue.SimpleQueue[Job]()
    stop = threading.Event()
    for target in (lambda: _listen(connection, jobs, stop), lambda: _beat(outbox)):
        threading.Thread(target=target, daemon=True).start()
    _redirect(outbox, levels)
    hand_over(selection)
    while True:
        ending = _run(jobs.get(), stop)
        try:
            outbox.send(ending)
        except Exception as error:
            outbox.send(Failed(RuntimeError(f"the node's outputs cannot be sent: {error}"), ""))


def _listen(connection: Connection, jobs: queue.SimpleQueue[Job], stop: threading.Event) -> None:
    """Take what the command sends; its end is this process's end, whatever it is doing."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(message, Stop):
            # In this order: a job that has not begun yet looks at the event, after it has begun to
            # listen to the signal. The handler finishes the iteration first.
            stop.set()
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            jobs.put(message)


def _beat(outbox: Outbox) -> None:
    while True:
        outbox.send(Alive())
        threading.Event().wait(_ALIVE_EVERY)


def _redirect(outbox: Outbox, levels: dict[str, int]) -> None:
    """Send to the command what would be printed, logged, shown or told to MLflow."""
    lines: Any = _Lines(outbox)
    sys.stdout = sys.stderr = lines
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level)
    logging.getLogger().handlers = [_Records(outbox)]
    relay_progress_to(outbox.send)
    mlflow_tracker.relay_to(
        lambda address, method, arguments: outbox.send(Logged(address, method, arguments))
    )


def _run(job: Job, stop: threading.Event) -> Ending:
    """Run a job, and return how it has ended."""
    team = None
    try:
        signal.signal(signal.SIGTERM, raise_stopped)
        if stop.is_set():
            return Halted(signal.SIGTERM)
        if job.size > 1:
            from dpok_pipeline.team.torch_team import TorchTeam

            team = TorchTeam.join(job.meeting, job.rank, job.size)
        return Done(job.node.run(job.inputs))
    except Followed:
        return Done({})
    except KeyboardInterrupt as interrupt:
        return Halted(getattr(interrupt, "signal_number", signal.SIGINT))
    except BaseException as error:
        return Failed(_plain(error), traceback.format_exc())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if team is not None:
            team.leave()


def _plain(error: BaseException) -> BaseException:
    """Return an error that survives its way to the command; causes do not."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return InputError(str(cause))
        cause = cause.__cause__
    try:
        copy: BaseException = ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return copy
