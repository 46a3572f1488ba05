"""A chain as JSON, for programs."""

from __future__ import annotations

from typing import Any

from dpok_pipeline.lineage.again import command_again
from dpok_pipeline.lineage.chain import Chain, Entry, key_of
from dpok_pipeline.lineage.records import TrackedRun
from dpok_pipeline.lineage.tracked import Store


def document(chain: Chain, store: Store, *, downstream: bool) -> dict[str, Any]:
    """Describe a chain in JSON values.

    Args:
        chain: What was made from what.
        store: What MLflow says of it.
        downstream: Whether the chain leads to what was made of the root.

    Returns:
        `root` and `entries`; each entry has its `key`, and in `made_from` or `made_of_it` the keys
        of others.
    """
    direction = "made_of_it" if downstream else "made_from"
    return {
        "root": _text(chain.root),
        "mlflow": store.trouble or "answers",
        "entries": [_entry(entry, store, direction) for entry in chain.entries.values()],
    }


def _text(key: tuple[str, str]) -> str:
    return ":".join(key)


def _entry(entry: Entry, store: Store, direction: str) -> dict[str, Any]:
    source, record = entry.source, entry.record
    told: dict[str, Any] = {
        "key": _text(entry.key),
        "name": source.name,
        "version": source.version,
        "sha256": source.digest,
        "paths": {path: {"state": state, "why": why} for path, (state, why) in entry.paths.items()},
        direction: [_text(key_of(one)) for one in entry.inputs],
        "unknown": entry.unknown or None,
    }
    if record is None:
        return told
    models = store.models(record.child) if record.child else []
    return {
        **told,
        "known_by": entry.by,
        "node": record.node,
        "seeds": record.seeds,
        "parameters": record.parameters,
        "command": record.command.model_dump(mode="json"),
        "run": _run(record.run, store),
        "child_run": _run(record.child, store),
        "models": [{**model._asdict(), "link": store.pages.model(model)} for model in models],
        "again": command_again(record) if entry.by == "record" else None,
    }


def _run(run: TrackedRun | None, store: Store) -> dict[str, Any] | None:
    if run is None:
        return None
    state = store.state(run)
    return {
        **run.model_dump(),
        "status": None if state is None else state.status,
        "link": store.pages.run(run),
    }
