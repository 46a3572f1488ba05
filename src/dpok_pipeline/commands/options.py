"""Options of the project's commands, whose mistakes end in one line with status 1 as all others do.

By default Click prints three lines with status 2, Kedro a traceback; and both take a repeated
option's last value, and an empty one for none, without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import read_yaml

#: More processes than any machine has use for; a typing error asks for them.
MOST_WORKERS = 256

#: Type and help text of the option --workers.
WORKERS: dict[str, Any] = {
    "type": int,
    "help": "Run nodes in so many processes, side by side; the cores are shared out between them.",
}

#: Type and help text of the option --address.
ADDRESS: dict[str, Any] = {
    "type": str,
    "help": "Run the workers on the machines of the Ray cluster with this address, as HOST:PORT; "
    "`local` starts one of this machine alone.",
}

_ADDRESS = re.compile(r"local|[^\s:/]+:[0-9]{1,5}")


def workers_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options --workers and --address, as a decorator."""
    return click.option("--workers", **WORKERS)(click.option("--address", **ADDRESS)(command))


def check_workers(workers: int | None) -> int | None:
    """Return the number of processes; None where the option is not given.

    Raises:
        InputError: It is no number of processes.
    """
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(
            f"--workers {workers}: give a number of processes from 1 to {MOST_WORKERS}, such as 2"
        )
    return workers


def check_address(address: str | None, workers: int | None) -> str | None:
    """Return the address of a Ray cluster; None where the option is not given.

    Args:
        address: The option --address.
        workers: The option --workers.

    Raises:
        InputError: It is no address, no workers are asked for, or Ray is not installed.
    """
    if address is None:
        return None
    if not _ADDRESS.fullmatch(address):
        client = "; Ray's client cannot place workers" if address.startswith("ray://") else ""
        raise InputError(
            f"--address {address}: give HOST:PORT, such as `ray start --head` prints, or local"
            f"{client}"
        )
    if workers is None:
        raise InputError(f"--address {address}: give --workers too, such as --workers 2")
    if find_spec("ray") is None:
        raise InputError(
            f"--address {address}: Ray is not installed; `make install EXTRAS=ray` installs it, or "
            "pip install 'dpok-pipeline[ray]'"
        )
    return address


class OneLineCommand(click.Command):
    """A command that answers options that it cannot read in one line, with status 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options, of which each is given once at most and none is empty."""
        with one_line_errors():
            try:
                *_, order = self.make_parser(ctx).parse_args(args=list(args))
                _refuse_repeated([_name(option) for option in order], "option", "")
                rest = super().parse_args(ctx, args)
            except click.UsageError as error:
                raise InputError(error.format_message()) from None
            for option in self.params:
                value = ctx.params.get(option.name or "")
                source = ctx.get_parameter_source(option.name or "")
                if source is ParameterSource.COMMANDLINE and _is_empty(value):
                    raise InputError(f"{_name(option)} is empty; give a value, or leave it out")
            return rest


def explained(option: click.Parameter) -> click.Parameter:
    """Copy an option of Kedro's, so that what its callback cannot read is answered in one line."""
    read, copied = option.callback, copy(option)
    if read is None:
        return copied

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        try:
            _check_text(option, value)
            return read(context, parameter, value)
        except (click.ClickException, InputError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{_name(option)} {value}: {reason}; correct it") from None

    copied.callback = callback
    return copied


def _check_text(option: click.Parameter, value: Any) -> None:
    """Refuse what Kedro would read otherwise than it is meant."""
    if option.name == "config" and value:
        content = read_yaml(Path(value))
        if not isinstance(content, dict) or not isinstance(content.get("run"), dict):
            raise InputError(f"{value}: expected `run:` and below it options, such as `env: smoke`")
    mark = {"params": "=", "load_versions": ":"}.get(option.name or "")
    if mark and isinstance(value, str):
        names = [item.partition(mark)[0].strip() for item in value.split(",") if item.strip()]
        _refuse_repeated(names, "name", f"{_name(option)}: ")
        outer = next((n for n in names for m in names if m.startswith(f"{n}.")), None)
        if outer is not None:
            raise InputError(f"{_name(option)}: {outer} is given whole and in part; leave one out")


def _refuse_repeated(names: Iterable[str], kind: str, where: str) -> None:
    """Refuse a name that is given twice: the last one would win without a word."""
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(
                f"{where}{name} is given {count} times; give each {kind} once, and several values "
                "by commas"
            )


def _name(option: click.Parameter) -> str:
    """Return an option as it is written on the command line."""
    return max(option.opts, key=len)


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip(" ,")
    return isinstance(value, list | tuple | dict) and not value
