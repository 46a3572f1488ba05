"""Finding the largest batch that fits, by trying."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

logger = logging.getLogger(__name__)


def halve_until_fits(function: Callable[[int], T], size: int) -> tuple[T, int]:
    """Call `function(size)`; on out-of-memory again with half the size, down to 1.

    Args:
        function: must be restartable: it begins anew at each call.
        size: rows or images that go through the network at once.

    Returns:
        The function's result, and the size that fitted, to begin with next time.
    """
    while True:
        try:
            return function(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        # Outside the except clause: the exception's frames hold the tensors to be freed.
        gc.collect()
        torch.cuda.empty_cache()
        size = (size + 1) // 2
        logger.warning("Out of device memory; going on with %d at once", size)
