"""The protocol of a scorer, the way to ask one, and scorers made of other scorers."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from dpok_pipeline.errors import InputError


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores images; training maximises one, evaluation reports several."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score each image for its prompt.

        Args:
            images: Images `(b, 3, h, w)` with values in [0, 1], on any device.
            prompts: The prompts of the b images.

        Returns:
            `(b,)` float32, higher is better.
        """
        ...


class BFloat16Scorer:
    """A scorer whose network runs in bfloat16 by autocast; its scores stay float32."""

    def __init__(self, scorer: Scorer, device: torch.device) -> None:
        """Wrap `scorer`, whose weights are on `device`."""
        self.scorer = scorer
        self.device = device

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score under autocast."""
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.scorer.score(images, prompts).float()


class WeightedSum:
    """The sum of weight × score over several scorers, in their order.

    Each scorer has a scale of its own (ImageReward about ±2, the aesthetic score 1 to 10, PickScore
    about 20), and the weights bring them together.
    """

    def __init__(self, parts: Mapping[str, tuple[float, Scorer]]) -> None:
        """Sum up scorers.

        Args:
            parts: Weight and scorer by a name, which messages use.
        """
        self.parts = dict(parts)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the weighted sum `(b,)` in float32, differentiable in `images` if its parts are.

        Raises:
            InputError: A part failed, or returned anything but one number per image.
        """
        total = torch.zeros(len(images), device=images.device)  # (b,)
        for name, (weight, scorer) in self.parts.items():
            total = total + weight * ask(scorer, images, prompts, name).to(images.device)
        return total


def scorer_name(scorer: Scorer) -> str:
    """Return the name by which messages call a scorer."""
    return str(getattr(scorer, "name", type(scorer).__name__))


def ask(scorer: Scorer, images: Tensor, prompts: Sequence[str], name: str | None = None) -> Tensor:
    """Let a scorer score images. Whatever it does to its arguments, the caller's stay as they are.

    A scorer may be anybody's code: it may write into the images, keep the tensor that it returns
    and fill it again at the next call, or leave the program.

    Args:
        scorer: The scorer.
        images: Images `(b, 3, h, w)` with values in [0, 1].
        prompts: The prompts of the b images.
        name: What messages call the scorer; None takes its own name.

    Returns:
        `(b,)` float32 on the scorer's device, a tensor of the caller's own.

    Raises:
        InputError: The scorer raised an error or called `sys.exit`, or returned anything but one
            number per image.
    """
    name = scorer_name(scorer) if name is None else name
    with foreign_code(f"reward `{name}`"):
        scores = scorer.score(images.clone(), list(prompts))
    return one_number_each(scores, len(prompts), name).clone()


@contextmanager
def foreign_code(what: str) -> Iterator[None]:
    """Run a user's own code: what it raises is the user's to correct, what it sets is undone.

    Args:
        what: What the code was to do; the beginning of the message.

    Raises:
        InputError: The code raised an error, or was to end the program.
    """
    try:
        with settings_kept():
            yield
    except (InputError, KeyboardInterrupt, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        raise InputError(f"{what}: {describe_failure(error)}") from error


def describe_failure(error: BaseException) -> str:
    """Say in one line what foreign code raised, and in which line of a user's file."""
    try:
        reason = str(error).partition("\n")[0] or "no message"
    except Exception:  # An error of a user's own class may have no text at all.
        reason = "no message"
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[1])
    own = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename and not frame.filename.startswith((package, "<"))
    ]
    place = f" in {own[-1].filename}, line {own[-1].lineno}" if own else ""
    return f"raised {type(error).__name__}{place} ({reason}); correct it"


def one_number_each(scores: Any, count: int, name: str) -> Tensor:
    """Return a scorer's result as `(count,)` float32.

    Args:
        scores: What the scorer returned: a tensor, an array, or a list of numbers.
        count: The number of images.
        name: The name of the scorer in messages.

    Raises:
        InputError: The result is anything but one number per image.
    """
    try:
        tensor = torch.as_tensor(scores)
        if tensor.is_complex():  # torch would drop the imaginary parts.
            raise TypeError("complex numbers")
        if tensor.is_meta or tensor.layout != torch.strided:
            raise TypeError(f"a tensor of device {tensor.device} and layout {tensor.layout}")
        tensor = tensor.to(torch.float32)
    except Exception as error:  # whatever a user's own type raises
        raise InputError(f"reward `{name}`: returned no numbers: {error}") from error
    if tensor.shape != (count,):
        raise InputError(
            f"reward `{name}`: returned shape {tuple(tensor.shape)} for {count} "
            f"images; return one number per image, shape ({count},)"
        )
    return tensor


def _set_signals(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _set_backends(flags: tuple[bool, bool, bool]) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = flags


def _read_autocast() -> tuple[Any, ...]:
    torch.autocast_increment_nesting()
    depth = torch.autocast_decrement_nesting()  # what is left: how many blocks are open
    kinds = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in AUTOCAST
    ]
    return depth, torch.is_autocast_cache_enabled(), *kinds


def _set_autocast(state: tuple[Any, ...]) -> None:
    depth, caching, *kinds = state
    for device, enabled, dtype in kinds:
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(caching)
    # Torch keeps weights in half precision until the outermost block ends. With a block that is
    # never left, a LoRA that has learned would be computed as it was before.
    for _ in range(depth, _read_autocast()[0]):
        torch.autocast_decrement_nesting()
    for _ in range(_read_autocast()[0], depth):
        torch.autocast_increment_nesting()
    torch.clear_autocast_cache()


def _set_default_device(device: torch.device) -> None:
    # The CPU is the default without being set: set, it would wrap every later call of torch.
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters = filters


def _set_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


AUTOCAST = ("cpu", "cuda")
#: How each setting is read and set.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    # The device comes first: those below make tensors on it.
    (torch.get_default_device, _set_default_device),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (_read_autocast, _set_autocast),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (
        lambda: (
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark,
        ),
        _set_backends,
    ),
    (np.geterr, lambda before: np.seterr(**before)),
    (os.getcwd, os.chdir),
    (lambda: list(warnings.filters), _set_filters),
    (lambda: logging.root.manager.disable, logging.disable),
    (lambda: (sys.stdout, sys.stderr), _set_streams),
)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Set back, at the end of the block, what a user's code has set for the whole process.

    Training after it would compute other numbers or fail, and nothing would show why.
    """
    before = [read() for read, _ in SETTINGS]
    handlers: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for (read, put), value in zip(SETTINGS, before, strict=True):
            if read() != value:
                put(value)
        if threading.current_thread() is threading.main_thread():
            _set_signals(handlers)
