"""Memory: the largest batch that fits, found by trying; and what freed memory is kept for."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError

T = TypeVar("T")

logger = logging.getLogger(__name__)

# glibc's numbers for what `mallopt` sets (malloc.h).
_TRIM_THRESHOLD, _MOST_MAPPED = -1, -4


def halve_until_fits(
    function: Callable[[int], T], size: int, task: str, *, gradients: bool = False
) -> tuple[T, int]:
    """Call `function(size)`, and halve the size, down to 1, each time the memory runs out.

    Args:
        function: The work to do. Each call must begin anew.
        size: Rows or images that go through the network at once.
        task: What the function does, and on which device, for messages.
        gradients: Whether there is a backward pass, which gradient checkpointing makes smaller.

    Returns:
        The function's result, and the size that fitted, which is the one to begin with next time.

    Raises:
        InputError: Not even one row or image fits.
    """
    while True:
        try:
            return function(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                checkpointing = "set compute.gradient_checkpointing to true, " if gradients else ""
                raise InputError(
                    f"{task}: one at a time does not fit in the device's memory; {checkpointing}"
                    "take a smaller model, or set compute.device to cpu"
                ) from None
        # This is outside the except clause, because the exception's frames hold the tensors that
        # are to be freed.
        gc.collect()
        torch.cuda.empty_cache()
        size = (size + 1) // 2
        logger.warning("%s: out of device memory; going on with %d at once", task, size)


@contextmanager
def whole_or_not(task: str, remedy: str) -> Iterator[None]:
    """Say in one line that work which has no smaller parts does not fit in memory.

    Args:
        task: What is done, and on which device.
        remedy: What the user can do.

    Raises:
        InputError: The memory has run out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On a CPU, torch's allocator raises an error of no kind of its own.
        if type(error) is RuntimeError and "can't allocate memory" not in str(error):
            raise
        raise InputError(f"{task}: does not fit in memory; {remedy}") from None


def in_parts(function: Callable[[slice], Tensor], count: int, size: int, task: str) -> Tensor:
    """Join what `function` returns for each part of a batch, with parts halved until they fit.

    Args:
        function: The work to do for the rows of the batch that a slice selects.
        count: Rows or images of the batch.
        size: Rows or images of a part at the first attempt.
        task: What the function does, and on which device, for messages.

    Raises:
        InputError: Not even one row or image fits.
    """
    if count == 0:
        return torch.empty(0)

    def attempt(size: int) -> Tensor:
        return torch.cat([function(slice(start, start + size)) for start in range(0, count, size)])

    # A size above the count, once halved, could repeat the attempt that has just failed.
    return halve_until_fits(attempt, min(size, count), task)[0]


def keep_freed_memory() -> None:
    """Let glibc keep freed tensors for the next ones, in place of giving them back to the system.

    Otherwise each of a network's activations is fresh memory, whose pages the system has to clear:
    on a CPU a compiled update then takes a fifth longer. Other C libraries stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return
    mallopt(_MOST_MAPPED, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
