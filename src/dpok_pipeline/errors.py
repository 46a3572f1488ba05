"""The errors that a user causes by bad input, which are reported in one line."""

from __future__ import annotations


class InputError(ValueError):
    """An input of the user's that cannot be used.

    The message is one line that names the file or parameter, the field in it, and what to do
    about it. The command line prints that line alone and exits with status 1.
    """


class MissingSource(InputError):
    """A file or folder of prompts that the configuration names and that is not there."""


class Diverged(InputError):
    """A training that has come to nothing finite; a sweep goes on with the next setting."""
