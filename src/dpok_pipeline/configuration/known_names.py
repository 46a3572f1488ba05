"""Refuses names in the catalog and in expected_seconds.yml that no pipeline knows.

Kedro keeps an entry that no node reads or writes, and makes a dataset in memory for a node whose
entry has another name: results would be gone at the end of the command.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

from dpok_pipeline.configuration.validation import SPELLING, advise
from dpok_pipeline.errors import InputError

CATALOG = "conf/*/catalog*.yml"
SECONDS = "conf/*/expected_seconds*.yml"
#: What an entry can ask of MLflow, with an example of each.
WISHES = {"input": True, "artifact": "report", "model": "diffusers"}


def check_catalog(entries: Mapping[str, Any], datasets: Collection[str]) -> None:
    """Refuse entries of the catalog that belong to no dataset, and wishes that MLflow cannot grant.

    Args:
        entries: The entries by their names, of which some are patterns such as
            `{experiment}.report`.
        datasets: Names of the datasets of all pipelines.

    Raises:
        InputError: There is such an entry. The message names it and the remedy.
    """
    for name, entry in entries.items():
        parts = re.split(r"\{\w+\}", name)
        pattern = re.compile(".+".join(map(re.escape, parts)))
        if not any(map(pattern.fullmatch, datasets)):
            advice = advise(name, {*datasets, *entries} - {name}, SPELLING)
            raise InputError(f"{CATALOG}: {name}: no pipeline has such a dataset; {advice}")
        metadata = entry.get("metadata") if isinstance(entry, Mapping) else None
        if isinstance(metadata, Mapping) and "mlflow" in metadata:
            _check_wishes(f"{CATALOG}: {name}.metadata.mlflow", metadata["mlflow"])


def check_types(entries: Mapping[str, Any]) -> None:
    """Refuse entries of the catalog at which Kedro fails: without fields, or of no type or pattern.

    Raises:
        InputError: There is such an entry. The message names it and the remedy.
    """
    for name, entry in entries.items():
        if not isinstance(entry, Mapping):
            raise InputError(
                f"{CATALOG}: {name} is {entry!r}: give a dataset's type and its fields"
            )
        kind = entry.get("type", "")
        if not isinstance(kind, str):
            raise InputError(f"{CATALOG}: {name}.type is {kind!r}: name a dataset's class")
        if "{" in name:
            _check_braces(f"{CATALOG}: {name}", entry)


def _check_braces(where: str, value: Any) -> None:
    """Refuse text in a pattern's entry that Kedro cannot fill in."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_braces(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for inner in value:
            _check_braces(where, inner)
    elif isinstance(value, str):
        try:
            list(Formatter().parse(value))
        except ValueError:
            raise InputError(
                f"{where} is {value!r}: a brace without its partner; correct the entry"
            ) from None


def _check_wishes(where: str, wishes: Any) -> None:
    if not isinstance(wishes, Mapping):
        raise InputError(f"{where} is {wishes!r}: give {{input: true}} or {{artifact: FOLDER}}")
    for key, value in wishes.items():
        if key not in WISHES:
            raise InputError(f"{where}.{key}: nothing reads this key; {advise(key, WISHES)}")
        example = WISHES[key]
        if type(value) is not type(example) or (key == "model" and value != example):
            shown = str(example).lower()
            raise InputError(f"{where}.{key} is {value!r}: give {shown}, or leave it out")


def check_expected_seconds(seconds: Mapping[str, Any], functions: Collection[str]) -> None:
    """Refuse durations that are no numbers, or are of nodes that do not exist.

    Args:
        seconds: Durations by the names of the nodes' functions.
        functions: Names of the functions of all nodes.

    Raises:
        InputError: There is such a duration. The message names it and the remedy.
    """
    for name, value in seconds.items():
        if name not in functions:
            advice = advise(name, functions, SPELLING)
            raise InputError(f"{SECONDS}: {name}: no node is called so; {advice}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value < 0:
            raise InputError(f"{SECONDS}: {name} is {value!r}: give a number of seconds")
