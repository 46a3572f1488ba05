"""Finding the largest batch that fits, by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError

T = TypeVar("T")

logger = logging.getLogger(__name__)


def halve_until_fits(
    function: Callable[[int], T], size: int, task: str, *, gradients: bool = False
) -> tuple[T, int]:
    """Call `function(size)`; on out-of-memory again with half the size, down to 1.

    Args:
        function: must be restartable: it begins anew at each call.
        size: rows or images that go through the network at once.
        task: what the function does, and on which device, for messages.
        gradients: whether it has a backward pass, which gradient checkpointing makes smaller.

    Returns:
        The function's result, and the size that fitted, to begin with next time.

    Raises:
        InputError: one at a time does not fit either.
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
        # Outside the except clause: the exception's frames hold the tensors to be freed.
        gc.collect()
        torch.cuda.empty_cache()
        size = (size + 1) // 2
        logger.warning("%s: out of device memory; going on with %d at once", task, size)


def in_parts(function: Callable[[slice], Tensor], count: int, size: int, task: str) -> Tensor:
    """Join what `function` gives for each part of a batch, parts halved until they fit.

    Args:
        function: takes a part's place in the batch.
        count: rows or images of the batch.
        size: of a part, to begin with.
        task: what the function does, and on which device, for messages.

    Raises:
        InputError: one at a time does not fit either.
    """
    if count == 0:
        return torch.empty(0)

    def attempt(size: int) -> Tensor:
        return torch.cat([function(slice(start, start + size)) for start in range(0, count, size)])

    # A size above the count would try the same again when it is halved.
    return halve_until_fits(attempt, min(size, count), task)[0]
