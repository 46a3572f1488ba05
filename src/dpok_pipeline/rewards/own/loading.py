"""A user's own scorer, given by the dotted path of a class, an object or a function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.own.code import importing
from dpok_pipeline.rewards.scorer import (
    Scorer,
    ask,
    foreign_code,
    one_number_each,
    settings_kept,
)


class FunctionScorer:
    """A user's function as a scorer."""

    def __init__(self, function: Callable[[Tensor, Sequence[str]], Any], name: str) -> None:
        """Wrap `function(images, prompts)`, which messages call `name`."""
        self.function = function
        self.name = name

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Call the function, whose result may be anything that holds b numbers.

        Raises:
            InputError: The function returned anything but one number per image.
        """
        count = len(images)  # counted first: the function may change its arguments
        with settings_kept():
            scores = self.function(images, prompts)
        return one_number_each(scores, count, self.name)


def load_own(dotted: str, path: str | None) -> Scorer:
    """Build the scorer at `package.module.name`.

    Args:
        dotted: Name of a class (built by its `from_folder(path)` if there is a path, else without
            arguments), of an object with a `score` method, or of a function of images and prompts.
        path: Where a class loads its files from.

    Raises:
        InputError: It cannot be imported, cannot be built, has another signature, or its code has
            changed since this process imported it.
    """
    with foreign_code(f"scorer `{dotted}`: cannot be imported"), importing(dotted):
        scorer = _import(dotted)
    with foreign_code(f"scorer `{dotted}`: cannot be built"):
        if inspect.isclass(scorer):
            scorer = _build(scorer, dotted, path)
        method = getattr(scorer, "score", None)
        if method is not None:
            _check_signature(method, dotted)
            typed: Scorer = scorer
            return typed
        if not callable(scorer):
            raise InputError(f"scorer `{dotted}`: neither callable nor with a `score` method")
        _check_signature(scorer, dotted)
        return FunctionScorer(scorer, dotted)


def _build(kind: Any, dotted: str, path: str | None) -> Any:
    """Build an object of a user's class."""
    if path is None:
        return kind()
    if not hasattr(kind, "from_folder"):
        raise InputError(f"scorer `{dotted}`: `path` is set but there is no from_folder")
    return kind.from_folder(path)


def _import(dotted: str) -> Any:
    """Import `package.module.name`."""
    module_name, _, attribute = dotted.rpartition(".")
    if not all(part.isidentifier() for part in dotted.split(".")):
        raise InputError(f"scorer `{dotted}`: no dotted path; write package.module.name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"scorer `{dotted}`: cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        raise InputError(f"scorer `{dotted}`: `{module_name}` has no `{attribute}`")
    return getattr(module, attribute)


def _check_signature(function: Callable[..., Any], name: str) -> None:
    """Raise `InputError` unless `function(images, prompts)` is a valid call."""
    try:
        inspect.signature(function).bind("images", "prompts")
    except TypeError as error:
        raise InputError(f"scorer `{name}`: not callable as (images, prompts): {error}") from error
    except ValueError:  # A builtin has no signature; a wrong one shows at the first call.
        return


def try_out(
    scorer: Scorer, prompts: Sequence[str], side: int, device: torch.device | str = "cpu"
) -> None:
    """Let a scorer score images of noise once, so that it does not fail after hours of work.

    Args:
        scorer: The scorer.
        prompts: One text for each image.
        side: Side of the images in pixels.
        device: Where the images are.

    Raises:
        InputError: The scorer failed, or returned anything but one number per image.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((len(prompts), 3, side, side), generator=generator)
    # Random numbers that the scorer draws here must not be missing later.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        ask(scorer, images.to(device), prompts)
