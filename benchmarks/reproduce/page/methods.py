"""The methods of an environment, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from benchmarks.configured import read
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.evaluation.names import MethodLabel


@cache
def methods_of(env: str) -> Mapping[str, Method]:
    """Return an environment's methods by name."""
    return read(env).methods


@cache
def method_labels(env: str) -> dict[str, MethodLabel]:
    """Return how an environment's methods are shown."""
    methods = methods_of(env).values()
    return {one.name: MethodLabel(one.name, one.label, one.colour) for one in methods}
