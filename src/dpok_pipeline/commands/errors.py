"""Ends a command in one line where the user can mend the cause."""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from kedro.framework.cli.utils import KedroCliError
from kedro.io.core import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from dpok_pipeline.commands.faults import explain_fault, one_line
from dpok_pipeline.configuration.validation import PARAMETERS, explain_value, lower_first
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks import JOURNAL, TRACKING, VERSIONS
from dpok_pipeline.training.signals import raise_stopped
from dpok_pipeline.training.tracking import lines_above_bars

# Shells add the signal's number to this exit status.
SIGNALLED = 128

#: Beginning of Kedro's message when filters leave no node.
NO_NODES = "Pipeline contains no nodes"

# Beginnings of Kedro's messages about a name that the user has given.
_WRONG_NAMES = ("Failed to find the pipeline named", NO_NODES, "Pipeline does not contain")

_NO_CREDENTIALS = "Unable to find credentials"

# What a file system says that forbids something, breaks, or has lost a folder in mid-run.
FILE_TROUBLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE, errno.ENOTDIR,
    errno.EISDIR, errno.ENOENT,
}  # fmt: skip


@contextmanager
def one_line_errors(traceback: bool = False) -> Iterator[None]:
    """End with status 1 and one line: the input is at fault, or the program, as a file tells.

    Args:
        traceback: Whether to show where the error came from instead.
    """
    before = signal.signal(signal.SIGTERM, raise_stopped)
    # Whoever reads the messages may stop reading, as `| head` does: the run goes on.
    shown, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        with lines_above_bars("dpok_pipeline"):
            yield
    except KeyboardInterrupt as interrupt:
        TRACKING.interrupted()
        click.secho("\nInterrupted. The same command goes on from the last checkpoint.", err=True)
        sys.exit(SIGNALLED + getattr(interrupt, "signal_number", signal.SIGINT))
    except Exception as error:
        message = explain(error)
        if traceback or os.environ.get("DPOK_TRACEBACK"):
            raise
        message = message or explain_fault(error)
        if message is None:
            raise
        click.secho(f"Error: {message}", fg="red", err=True)
        sys.exit(1)
    finally:
        # Kedro calls no hook after an interrupt, or after a hook that has refused the run.
        JOURNAL.interrupted()
        VERSIONS.interrupted()
        signal.signal(signal.SIGTERM, before)
        logging.raiseExceptions = shown
        _leave_closed_output()


def _leave_closed_output() -> None:
    """Say that nobody has read the rest, and keep Python from stumbling over it at its end."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # a stream without a file, as in a notebook
        return
    state = select.poll()
    state.register(output, select.POLLERR)
    if any(event & select.POLLERR for _, event in state.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        click.secho("Standard output was closed; the command went on without it.", err=True)


def explain(error: BaseException) -> str | None:
    """Say in one line what the user can do about an error.

    Args:
        error: Error that has ended the command.

    Returns:
        The line; None if the error is a fault of the program, whose traceback says more.
    """
    for cause in _chain(error):
        if _is_clear(cause):
            return one_line(str(cause))
        if isinstance(cause, ParameterValidationError):
            return "; ".join(_parameter_errors(str(cause)))
        if isinstance(cause, OSError) and (line := _explain_file_system(cause)):
            return line
    if isinstance(error, DatasetError):
        return one_line(str(error))
    return None


def _explain_file_system(error: OSError) -> str:
    """Say which path a file system refuses; empty if the error is about something else."""
    if error.errno == errno.ENOSPC:
        place = f" while writing {error.filename}" if error.filename else ""
        return (
            f"The disk is full{place}: nothing unfinished will be read; "
            "make space and run the same command again."
        )
    if error.errno in FILE_TROUBLE and error.filename:
        return (
            f"{error.filename}: {error.strerror}: nothing unfinished will be read; mend it and run "
            "the same command again."
        )
    return ""


def _is_clear(error: BaseException) -> bool:
    """Say whether the message of an error tells the user what is wrong."""
    if isinstance(error, InputError | KedroCliError):
        return True
    if isinstance(error, KeyError):  # Of these, Kedro raises one for a name that is not there.
        return str(error).lstrip("\"'").startswith(_NO_CREDENTIALS)
    return isinstance(error, ValueError) and str(error).startswith(_WRONG_NAMES)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, from the outermost wrapper to the first cause."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _parameter_errors(message: str) -> Iterator[str]:
    """Turn the several lines that Kedro and Pydantic have for a field into one sentence.

    Kedro's message holds, for each parameter group, `- Parameter 'GROUP': ` and then
    Pydantic's text: a count, and for each field its path, then an indented explanation
    that ends in `[type=…, input_value=…, input_type=…]`.
    """
    group, field = "", ""
    for line in message.splitlines()[1:]:
        if heading := re.match(r"- Parameter '([^']+)': (.*)", line):
            group, field = heading[1], ""
            if "validation error" not in heading[2]:
                yield f"Parameter {group}: {lower_first(heading[2])}"
        elif explained := re.match(r"  (\S.*?) \[type=(\w+), input_value=(.*), input_type=", line):
            where = f"{PARAMETERS}: {'.'.join(filter(None, (group, field)))}"
            message, kind, value = explained.groups()
            yield explain_value(where, kind, value, message)
        elif not line.startswith(" "):
            field = line.strip()
