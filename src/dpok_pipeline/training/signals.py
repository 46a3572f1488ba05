"""SIGINT and SIGTERM end a run between two iterations, after its state is saved."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal has ended the run; the same command goes on from what was saved.

    Attributes:
        signal_number: The signal's number; shells expect exit status 128 plus it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


def raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    """Treat a signal as Ctrl-C, where no `stop_requests` has taken it; a handler for `signal`.

    Raises:
        Stopped: Always.
    """
    raise Stopped(number)


class StopRequest:
    """Whether a signal has come."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None

    def obey(self) -> None:
        """End the run if a signal has come.

        Raises:
            Stopped: A signal has come.
        """
        if self.signal_number is not None:
            raise Stopped(self.signal_number)


@contextmanager
def stop_requests(after: str) -> Iterator[StopRequest]:
    """Take the first SIGINT or SIGTERM as a request; a second one ends the process at once.

    Outside the main thread, where Python lets nobody handle signals, none is ever taken.

    Args:
        after: The name of what is finished first, for the message.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def take(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        logger.warning("Stopping after this %s; once more to stop at once", after)
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in SIGNALS:
        signal.signal(number, take)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
