"""A preview that cannot be made is none: a page must not fail by what somebody's file holds."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

logger = logging.getLogger(__name__)
Dataset = TypeVar("Dataset")
Arguments = ParamSpec("Arguments")
Preview = TypeVar("Preview")


def or_nothing(
    preview: Callable[Concatenate[Dataset, Arguments], Preview],
) -> Callable[Concatenate[Dataset, Arguments], Preview | None]:
    """Let a preview be None where its dataset is absent, unfinished or damaged.

    kedro-viz reads which kind of preview it gets off the name of the annotated return type, so
    that a method must name one of `kedro_datasets._typing`; this leaves its signature as it is.
    """

    @functools.wraps(preview)
    def guarded(
        self: Dataset, /, *args: Arguments.args, **options: Arguments.kwargs
    ) -> Preview | None:
        try:
            return preview(self, *args, **options)
        except Exception as error:
            logger.debug("%r has no preview: %s", self, error)
            return None

    return guarded
