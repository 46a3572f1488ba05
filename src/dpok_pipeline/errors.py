"""The error that a user causes by bad input, which is reported in one line."""

from __future__ import annotations


class InputError(ValueError):
    """An input of the user's that cannot be used.

    The message is one line that names the file or parameter, the field in it, and what to do
    about it. The command line prints that line alone and exits with status 1.
    """
