"""The one error a user can cause: bad input, said in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the file or parameter, the field in it, and what to do
    about it. The command line prints that line alone and exits with status 1.
    """
