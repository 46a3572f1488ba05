"""Turns what went wrong into one line, where the cause is the user's to mend."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import yaml
from kedro.framework.cli.utils import KedroCliError
from kedro.io.core import DatasetError
from kedro.validation.exceptions import ParameterValidationError
from omegaconf.errors import InterpolationResolutionError

from dpok_pipeline.errors import InputError

_KEDRO_NAMES_A_WRONG_CHOICE = (
    "Failed to find the pipeline named",
    "Pipeline contains no nodes",
    "Pipeline does not contain",
)

# OmegaConf keeps no more than the text of what a resolver raises.
IN_RESOLVER = re.compile(r"InputError raised while resolving interpolation: (.*)")


def explain(error: BaseException) -> str | None:
    """Say in one line what the user can do about an error.

    Args:
        error: What ended the command.

    Returns:
        The line; None if the error is a fault of the program, whose traceback is worth more.
    """
    for cause in _chain(error):
        if isinstance(cause, InputError | KedroCliError | yaml.YAMLError):
            return _one_line(str(cause))
        if isinstance(cause, ParameterValidationError):
            return "; ".join(_parameter_errors(str(cause)))
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            place = f" while writing {cause.filename}" if cause.filename else ""
            return (
                f"The disk is full{place}: nothing unfinished will be read; "
                "make space and run the same command again."
            )
        if isinstance(cause, ValueError) and str(cause).startswith(_KEDRO_NAMES_A_WRONG_CHOICE):
            return _one_line(str(cause))
    if isinstance(error, DatasetError):
        return _one_line(str(error))
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk from an error to what caused it, Kedro's wrappers first."""
    while error is not None:
        yield error
        if isinstance(error, InterpolationResolutionError):
            yield from map(InputError, IN_RESOLVER.findall(str(error)))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _parameter_errors(message: str) -> Iterator[str]:
    """Read Kedro's and Pydantic's several lines per field as one sentence per field.

    Kedro's message holds, for each parameter group, `- Parameter 'GROUP': ` and then
    Pydantic's text: a count, and for each field its path, then an indented explanation
    that ends in `[type=…, input_value=…, input_type=…]`.
    """
    group, field = "", ""
    for line in message.splitlines()[1:]:
        if heading := re.match(r"- Parameter '([^']+)': (.*)", line):
            group, field = heading[1], ""
            if "validation error" not in heading[2]:
                yield f"Parameter {group}: {_lower_first(heading[2])}"
        elif explained := re.match(r"  (\S.*?) \[type=(\w+), input_value=(.*), input_type=", line):
            yield _field_error(".".join(filter(None, (group, field))), *explained.groups())
        elif not line.startswith(" "):
            field = line.strip()


def _field_error(field: str, reason: str, kind: str, value: str) -> str:
    where = f"conf/*/parameters*.yml or --params: {field}"
    if kind == "extra_forbidden":
        return f"{where}: no such parameter; check its spelling or remove it"
    if kind == "missing":
        return f"{where} is missing: set it"
    return f"{where} is {value}: {_lower_first(reason)}"


def _lower_first(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _one_line(message: str) -> str:
    return " ".join(message.split())
