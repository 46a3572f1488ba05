"""Recipes: what decides a result, compared part by part so that a difference can be named.

A recipe is a nested mapping of JSON values: parameters by their names in the configuration, hashes
of models and data, prompts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dpok_pipeline.errors import InputError

REMEDIES = "give `--params resume=never` to start anew, or put the old value back"
_SHOWN_CHANGES = 3
_SHOWN_CHARACTERS = 60
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ABSENT = object()


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """Return the sha256 of a recipe, which does not depend on the order of its keys."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def flatten(nested: Mapping[str, Any]) -> dict[str, Any]:
    """Write nested and typed parameters with dotted names.

    Args:
        nested: Mappings and parameter groups to any depth. An empty one counts as a value.

    Returns:
        Every value by its dotted name, in the order of the input.

    Example:
        >>> flatten({"lora": {"rank": 4}, "experiment": "color"})
        {'lora.rank': 4, 'experiment': 'color'}
    """
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        content = value.model_dump() if isinstance(value, BaseModel) else value
        if isinstance(content, Mapping) and content:
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flatten(content).items()}
        else:
            flat[str(name)] = content
    return flat


def check_same(saved: Mapping[str, Any], present: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on from something that was made by another recipe.

    Args:
        saved: The recipe of a checkpoint or of shards that are there.
        present: The recipe of the run that starts.
        where: The checkpoint or folder, for the message.

    Raises:
        InputError: The recipes differ. The message names each part with its old and new value,
            and the remedies.
    """
    if fingerprint(saved) == fingerprint(present):
        return
    raise InputError(
        f"{where}: made with other inputs: {summarise_changes(saved, present)}; {REMEDIES}"
    )


def summarise_changes(saved: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """Say what the first changes are, and how many more there are; empty if there is none."""
    differences = list(changes(saved, present))
    hidden = len(differences) - _SHOWN_CHANGES
    more = f" and {hidden} more" if hidden > 0 else ""
    return f"{'; '.join(differences[:_SHOWN_CHANGES])}{more}"


def changes(saved: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    """Say of each part that differs what it was and what it is, in the order of the parts."""
    old, new = flatten(_as_read_from_json(saved)), flatten(_as_read_from_json(present))
    for name in {**new, **old}:
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        # As JSON, because Python takes 1, 1.0 and True for the same and a fingerprint does not.
        if name in old and name in new and _json(before) == _json(after):
            continue
        if isinstance(before, list) and isinstance(after, list):
            yield f"{name}: {_list_change(before, after)}"
        else:
            yield f"{name} was {_shorten(before)} and is {_shorten(after)}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _as_read_from_json(tree: Mapping[str, Any]) -> Any:
    """Return the tree as it comes back from a file, with lists in the place of tuples."""
    return json.loads(json.dumps(tree))


def _list_change(before: Sequence[Any], after: Sequence[Any]) -> str:
    removed = [item for item in before if item not in after]
    added = [item for item in after if item not in before]
    if not removed and not added:
        return "the same in another order or number"
    parts = []
    if removed:
        parts.append(f"{_shorten(removed[0])} is gone{_count_others(removed)}")
    if added:
        parts.append(f"{_shorten(added[0])} is new{_count_others(added)}")
    return ", ".join(parts)


def _count_others(items: Sequence[Any]) -> str:
    return f" with {len(items) - 1} others" if len(items) > 1 else ""


def _shorten(value: Any) -> str:
    """Return a value as a message shows it, with hashes and long texts cut."""
    if value is _ABSENT:
        return "not there"
    if isinstance(value, str) and _SHA256.fullmatch(value):
        return f"{value[:12]}…"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
