"""What made a checkpoint, compared part by part, so that a difference can be named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpok_pipeline.errors import InputError

WAYS_OUT = "give `--params resume=never` to start anew, or put the old value back"
_SHOWN = 3
_TEXT = 60
_HASH = re.compile(r"[0-9a-f]{64}")
_ABSENT = "not there"


def fingerprint(made_by: Mapping[str, Any]) -> str:
    """Sha256 of everything that decides a run's numbers; JSON values only."""
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()


def check_same(saved: Mapping[str, Any], present: Mapping[str, Any], where: Path) -> None:
    """Compare what made a checkpoint with what would go on from it.

    Args:
        saved: parameters by their names in the configuration, hashes of models and data, prompts.
        present: the same, of the run that starts.
        where: the checkpoint or folder, for the message.

    Raises:
        InputError: they differ; it names each part with its old and new value, and the ways out.
    """
    if fingerprint(saved) == fingerprint(present):
        return
    found = list(changes(saved, present))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InputError(
        f"{where}: made with other inputs: {'; '.join(found[:_SHOWN])}{more}; {WAYS_OUT}"
    )


def changes(saved: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    """Say of each part that differs what it was and what it is, in the parts' own order."""
    old, new = dict(_flat(_plain(saved))), dict(_flat(_plain(present)))
    for name in {**new, **old}:
        if name not in old or name not in new or old[name] != new[name]:
            before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
            if isinstance(before, list) and isinstance(after, list):
                yield f"{name}: {_list_change(before, after)}"
            else:
                yield f"{name} was {_shown(before)} and is {_shown(after)}"


def _plain(tree: Mapping[str, Any]) -> Any:
    """As the tree comes back from a file."""
    return json.loads(json.dumps(tree))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _list_change(before: Sequence[Any], after: Sequence[Any]) -> str:
    removed = [item for item in before if item not in after]
    added = [item for item in after if item not in before]
    if not removed and not added:
        return "the same in another order or number"
    parts = []
    if removed:
        parts.append(f"{_shown(removed[0])} is gone{_others(removed)}")
    if added:
        parts.append(f"{_shown(added[0])} is new{_others(added)}")
    return ", ".join(parts)


def _others(items: Sequence[Any]) -> str:
    return f" with {len(items) - 1} others" if len(items) > 1 else ""


def _shown(value: Any) -> str:
    """A value as a message shows it: hashes and long texts shortened."""
    if value == _ABSENT:
        return _ABSENT
    if isinstance(value, str) and _HASH.fullmatch(value):
        return f"{value[:12]}…"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
