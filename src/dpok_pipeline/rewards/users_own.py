"""A user's own scorer, by the dotted path of a class or a function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.protocol import Scorer
from dpok_pipeline.rewards.wrappers import FunctionScorer


def load_own(dotted: str, path: str | None) -> Scorer:
    """Build the scorer at `package.module.name`.

    Args:
        dotted: a class (built by its `from_folder(path)` if `path` is given, else without
            arguments), an object with a `score` method, or a function of images and prompts.
        path: what a class loads from.

    Raises:
        InputError: it cannot be imported, cannot be built, or has another signature.
    """
    found = _import(dotted)
    if inspect.isclass(found):
        found = _instance(found, dotted, path)
    method = getattr(found, "score", None)
    if method is not None:
        _check_signature(method, dotted)
        scorer: Scorer = found
        return scorer
    if not callable(found):
        raise InputError(f"scorer `{dotted}`: neither callable nor with a `score` method")
    _check_signature(found, dotted)
    return FunctionScorer(found, dotted)


def _instance(kind: Any, dotted: str, path: str | None) -> Any:
    """Build an object of a user's class."""
    try:
        if path is None:
            return kind()
        if not hasattr(kind, "from_folder"):
            raise InputError(f"scorer `{dotted}`: `path` is set but there is no from_folder")
        return kind.from_folder(path)
    except TypeError as error:
        raise InputError(f"scorer `{dotted}`: cannot be built: {error}") from error


def _import(dotted: str) -> Any:
    """Import `package.module.name`."""
    module_name, _, attribute = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(f"scorer `{dotted}`: cannot be imported: {error}") from error
    except AttributeError as error:
        raise InputError(f"scorer `{dotted}`: `{module_name}` has no `{attribute}`") from error


def _check_signature(function: Callable[..., Any], name: str) -> None:
    """Raise `InputError` unless `function(images, prompts)` is a valid call."""
    try:
        inspect.signature(function).bind("images", "prompts")
    except TypeError as error:
        raise InputError(f"scorer `{name}`: not callable as (images, prompts): {error}") from error
    except ValueError:  # a builtin without a signature: the first call will tell
        return
