"""Cases of which `make test` tries a few, and `make stress` the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def always_or_stressed(names: Iterable[str], always: Collection[str]) -> list[Any]:
    """Return names to parametrize a test with, marked for `make stress` but for some.

    Args:
        names: All of them.
        always: Those that `make test` tries, too.
    """
    return [
        pytest.param(name, marks=() if name in always else pytest.mark.stress) for name in names
    ]
