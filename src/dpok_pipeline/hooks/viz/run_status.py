"""Tells kedro-viz how the last run went: its workflow view, and the numbers beside a dataset.

kedro-viz has hooks of its own for this, which `settings.py` switches off. They follow Kedro's
sequential runner alone, and neither a part of a pipeline nor workers; of a version they measure the
folder's own entry; and a run that is killed leaves the success of the run before it to be seen.
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.hooks.viz.sizes import shape, stored_bytes

logger = logging.getLogger(__name__)

# The files that kedro-viz reads, in the project's folder.
EVENTS, STATISTICS = Path(".viz/kedro_pipeline_events.json"), Path(".viz/stats.json")
# kedro-viz knows success and failure only: what has not ended has not succeeded.
NOT_ENDED = "The run has not ended: it is still going on, or was stopped before it could say so."

Event = dict[str, Any]


class RunStatusHooks:
    """Hooks that write down each node's end, and how large what it read and saved is.

    Args:
        journal: Hooks that know which nodes an interrupted run has finished.
    """

    def __init__(self, journal: JournalHooks) -> None:
        self._journal = journal
        self._project: Path | None = None
        self._catalog: CatalogProtocol | None = None
        self._events: list[Event] = []
        self._statistics: dict[str, dict[str, int]] = {}
        self._begun: dict[str, float] = {}  # by the names of the nodes that are running
        self._seen: set[str] = set()
        self._busy_with: Event = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the project's path."""
        self._project = Path(context.project_path)

    # After the journal, which may refuse the run and knows what is left of it.
    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Begin anew, with the nodes that an interrupted run has finished."""
        self._catalog = catalog if find_spec("kedro_viz") else None
        self._statistics, self._begun, self._seen, self._busy_with = {}, {}, set(), {}
        version = self._journal.version
        done = [node for node in pipeline.nodes if node.name in self._journal.done]
        earlier = self._earlier_events(version) if done else []
        self._events = [_event("before_pipeline_run", version=version)]
        self._events += _of_finished(done, earlier)
        self._write_events(_event("on_pipeline_error", error=NOT_ENDED))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Remember when a node begins."""
        self._begun[node.name] = time.perf_counter()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note a node's success and how long it took; it is written once its outputs are saved."""
        begun = self._begun.pop(node.name, None)
        duration = 0.0 if begun is None else time.perf_counter() - begun
        self._events.append(
            _event(
                "after_node_run",
                node=node.name,
                node_id=_identify(node),
                duration=duration,
                status="success",
            )
        )

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Remember what is being read."""
        self._busy_with = _context(dataset_name, "loading", node)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Note a dataset the first time that it is read."""
        self._busy_with = {}
        if dataset_name not in self._seen:
            self._note(dataset_name, data, "after_dataset_loaded")
        elif dataset_name in self._statistics:  # A folder's rows are known once it is opened.
            self._statistics[dataset_name] |= shape(data)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Remember what is being written."""
        self._busy_with = _context(dataset_name, "saving", node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Note a dataset, and write how far the run has come."""
        self._busy_with = {}
        self._note(dataset_name, data, "after_dataset_saved")
        if self._seen.issuperset(node.outputs):
            self._write_events(_event("on_pipeline_error", error=NOT_ENDED))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Write that the run has succeeded."""
        self._write_events(_event("after_pipeline_run"))
        self._write_statistics()

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Note why a node has failed."""
        self._busy_with = {"node": node.name, "node_id": _identify(node)}
        self._events.append(_event("on_node_error", **self._busy_with, **_fault(error)))

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Write why the run has failed, and at which dataset."""
        self._write_events(_event("on_pipeline_error", **self._busy_with, **_fault(error)))
        self._write_statistics()

    def _note(self, name: str, data: Any, what: str) -> None:
        if self._catalog is None:
            return
        self._seen.add(name)
        event = _event(what, dataset=name, node_id=_identify(name), status="Available")
        if not name.startswith("params:"):
            known = shape(data)
            if (size := stored_bytes(self._catalog.get(name))) is not None:
                event["size"] = known["file_size"] = size
            if known:
                self._statistics[name] = known
        self._events.append(event)

    def _earlier_events(self, version: str) -> list[Event]:
        """Read what an interrupted run has noted; nothing if another one was noted since."""
        events = self._read(EVENTS)
        if not isinstance(events, list) or not events or events[0].get("version") != version:
            return []
        return events

    def _write_events(self, ending: Event) -> None:
        if self._catalog is not None:
            self._write(EVENTS, [*self._events, ending])

    def _write_statistics(self) -> None:
        """Write how large the datasets of this run are, beside what earlier runs have left."""
        if self._catalog is not None:
            earlier = self._read(STATISTICS)
            known = earlier if isinstance(earlier, dict) else {}
            self._write(STATISTICS, {**known, **self._statistics})

    def _read(self, path: Path) -> Any:
        with suppress(OSError, ValueError):
            return json.loads((self._project_path() / path).read_text(encoding="utf-8"))
        return None

    def _write(self, path: Path, document: Any) -> None:
        """Write a file whole, because kedro-viz may read it at any time, but wait for no disk."""
        try:
            target = self._project_path() / path
            target.parent.mkdir(exist_ok=True)
            partial = target.with_name(f"{target.name}.{os.getpid()}")
            partial.write_text(json.dumps(document), encoding="utf-8")
            partial.replace(target)
        except (OSError, TypeError, ValueError) as error:  # No run depends on it.
            logger.debug("kedro-viz is not told how the run goes: %s", error)

    def _project_path(self) -> Path:
        if self._project is None:
            raise OSError("Kedro makes the context before it runs a pipeline")
        return self._project


def _event(event: str, **fields: Any) -> Event:
    return {"event": event, "timestamp": datetime.now(tz=UTC).isoformat(), **fields}


def _fault(error: BaseException) -> Event:
    """Describe an error; a user's mistake is said in one line."""
    told = "" if isinstance(error, InputError) else "".join(traceback.format_exception(error))
    return {"error": str(error), "traceback": told}


def _context(dataset: str, operation: str, node: Node) -> Event:
    return {
        "dataset": dataset,
        "operation": operation,
        "node": node.name,
        "node_id": _identify(node),
    }


def _of_finished(nodes: Iterable[Node], earlier: list[Event]) -> list[Event]:
    """Return the events of nodes that are not run again, as far as they were noted."""
    ends = {event["node"]: event for event in earlier if event["event"] == "after_node_run"}
    saved = {
        event["dataset"]: event for event in earlier if event["event"] == "after_dataset_saved"
    }
    events = []
    for node in nodes:
        unknown = _event(
            "after_node_run", node=node.name, node_id=_identify(node), status="success"
        )
        events.append(ends.get(node.name, unknown))
        events += [saved[name] for name in node.outputs if name in saved]
    return events


def _identify(node_or_dataset: Node | str) -> str:
    """Return kedro-viz's own id of a node or a dataset; without kedro-viz nobody asks for it."""
    if not find_spec("kedro_viz"):
        return ""
    from kedro_viz.integrations.kedro.hooks_utils import hash_node

    identifier: str = hash_node(node_or_dataset)
    return identifier
