"""Nodes of the prompt_preparation pipeline."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpok_pipeline.configuration import selection
from dpok_pipeline.datasets.prompts.formats import SPLITS
from dpok_pipeline.datasets.prompts.rows import PromptRow, comparison_key
from dpok_pipeline.diffusion.components import unreadable
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import open_tokenizer

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import BaseModelHandle

logger = logging.getLogger(__name__)

READABLE_ID_LENGTH = 40


def prepare_prompts(prompt_sources: list[PromptRow], base_model: BaseModelHandle) -> pd.DataFrame:
    """Validate the prompts of all sources, and put them into one table.

    Args:
        prompt_sources: Rows of all sources.
        base_model: The base model, whose tokenizer says how long a prompt may be.

    Returns:
        Table with the columns prompt_id, text, experiment, split, category and source. The source
        is the file and the place in it.

    Raises:
        InputError: There are no prompts, a prompt is too long or twice in an experiment, or an
            experiment lacks a split.
    """
    if not prompt_sources:
        raise InputError("prompt_sources: no prompts in any source; add some")
    check_distinct(prompt_sources)
    warn_of_unused(prompt_sources)
    rows = drop_unreadable(prompt_sources, *open_tokenizer(base_model))
    check_splits(rows)
    table = pd.DataFrame(rows, columns=PromptRow._fields)
    table["source"] = table["source"] + ", " + table.pop("place")
    table = table.drop(columns="corpus")
    table.insert(0, "prompt_id", name_prompts(rows))
    return table


def check_distinct(rows: Iterable[PromptRow]) -> None:
    """Refuse prompts that an experiment has twice, in its two splits or in one."""
    firsts: dict[tuple[str, str], PromptRow] = {}
    for row in rows:
        first = firsts.setdefault((row.experiment, comparison_key(row.text)), row)
        if first is not row:
            raise InputError(
                f"{row.source}: {row.place}: duplicate of {first.place}"
                f"{'' if first.source == row.source else f' of {first.source}'}, "
                f"{row.text[:60]!r}; remove one"
            )


def check_splits(rows: Iterable[PromptRow]) -> None:
    """Refuse experiments that could be trained but not evaluated, or the other way round."""
    splits: dict[str, dict[str, PromptRow]] = {}
    for row in rows:
        splits.setdefault(row.experiment, {})[row.split] = row
    for experiment in splits.keys() & set(selection.current().experiments):
        present = splits[experiment]
        for split in set(SPLITS) - present.keys():
            source = next(iter(present.values())).source
            raise InputError(f"{source}: {experiment} has no {split} prompt; add one")


def warn_of_unused(rows: Iterable[PromptRow]) -> None:
    """Warn of experiments that no pipeline trains or evaluates."""
    unused = sorted({row.experiment for row in rows} - set(selection.current().experiments))
    if unused:
        logger.warning(
            "prompts: no pipeline uses %s; the experiments are %s",
            ", ".join(unused),
            ", ".join(selection.current().experiments),
        )


def drop_unreadable(rows: Iterable[PromptRow], tokenizer: Any, limit: int) -> list[PromptRow]:
    """Return the prompts that the text encoder takes whole; it would silently cut off the others.

    A prompt that it does not is left out if it comes from a collection by others.

    Args:
        rows: Rows of all sources.
        tokenizer: The base model's.
        limit: Number of tokens that the text encoder takes.

    Raises:
        InputError: A prompt of a user's list is too long, or holds what would end it.
    """
    fitting, left_out = [], []
    for row in rows:
        problem = unreadable(row.text, tokenizer, limit)
        if not problem:
            fitting.append(row)
        elif row.corpus:
            left_out.append(row)
        else:
            raise InputError(f"{row.source}: {row.place}: {problem} {row.text[:60]!r}")
    if left_out:
        logger.warning(
            "prompts: left out %d that the base model cannot take whole in its %d tokens, at first "
            "%s, %s",
            len(left_out),
            limit,
            left_out[0].source,
            left_out[0].place,
        )
    return fitting


def name_prompts(rows: Iterable[PromptRow]) -> list[str]:
    """Return the prompts' ids.

    Raises:
        InputError: Two texts have one id. Their images would be taken for those of one prompt.
    """
    owners: dict[str, PromptRow] = {}
    names = []
    for row in rows:
        names.append(name := prompt_id(row.text))
        owner = owners.setdefault(name, row)
        if owner.text != row.text:
            raise InputError(
                f"{row.source}: {row.place}: has the id {name} of {owner.place} of "
                f"{owner.source}, by chance; change a word of {row.text[:60]!r}"
            )
    return names


def prompt_id(text: str) -> str:
    """Name a prompt by a text that is readable, safe as a file name, and its own."""
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:READABLE_ID_LENGTH]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
