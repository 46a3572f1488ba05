"""What kedro-viz is told of runs, read by kedro-viz's own code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.framework.hooks import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_viz.api.rest.responses.run_events import RunStatusAPIResponse, get_run_status_response
from kedro_viz.utils import _hash, _hash_input_output

from dpok_pipeline.datasets.whole_files import ParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.viz import run_status
from dpok_pipeline.hooks.viz.run_status import NOT_ENDED, RunStatusHooks
from dpok_pipeline.hooks.viz.sizes import stored_bytes
from dpok_pipeline.runs.runner import ContinuingRunner


def make(number: int) -> pd.DataFrame:
    return pd.DataFrame({"x": range(number), "y": 0})


def double(table: pd.DataFrame) -> pd.DataFrame:
    return table * 2


def refuse(table: pd.DataFrame) -> pd.DataFrame:
    raise InputError("rows.csv: x: too few; add some")


def fall(table: pd.DataFrame) -> pd.DataFrame:
    raise KeyError("nobody's mistake")


MAKE = Node(make, "number", "made", name="make_node")


class Told:
    """Runs of pipelines in a folder, and what kedro-viz makes of what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = SimpleNamespace(done=[], version="1")
        self.hooks = RunStatusHooks(self.journal)  # type: ignore[arg-type]
        self.hooks.after_context_created(SimpleNamespace(project_path=folder))

    def run(self, *nodes: Node) -> RunStatusAPIResponse:
        manager = _create_hook_manager()
        manager.register(self.hooks)
        pipeline, catalog = Pipeline(nodes), self.catalog()
        manager.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=catalog)
        ContinuingRunner.done = tuple(self.journal.done)
        try:
            ContinuingRunner().run(pipeline, catalog, manager)
        except Exception as error:
            manager.hook.on_pipeline_error(
                error=error, run_params={}, pipeline=pipeline, catalog=catalog
            )
        else:
            manager.hook.after_pipeline_run(
                run_params={}, run_result={}, pipeline=pipeline, catalog=catalog
            )
        finally:
            ContinuingRunner.done = ()
        return get_run_status_response()

    def catalog(self) -> DataCatalog:
        def table(name: str) -> ParquetDataset:
            return ParquetDataset(filepath=(self.folder / f"{name}.parquet").as_posix())

        datasets = {name: table(name) for name in ("made", "doubled")}
        return DataCatalog({**datasets, "number": MemoryDataset(3)})

    def statistics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / ".viz" / "stats.json").read_text())
        return found


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "x"\nproject_name = "x"\nkedro_init_version = "1.7.0"\n'
    )
    before = Path.cwd()
    os.chdir(tmp_path)
    yield Told(tmp_path)
    os.chdir(before)


def test_a_run_that_succeeds_is_shown_with_times_and_sizes(told: Told) -> None:
    doubled = Node(double, "made", "doubled", name="double_node")
    status = told.run(MAKE, doubled)
    assert status.pipeline.status == "success"
    assert status.pipeline.duration > 0
    assert {status.nodes[_hash(str(node))].status for node in (MAKE, doubled)} == {"success"}
    made = status.datasets[_hash_input_output("made")]
    assert made.size == (told.folder / "made.parquet").stat().st_size
    assert told.statistics()["made"] == {"rows": 3, "columns": 2, "file_size": made.size}


def test_what_earlier_runs_left_is_still_known(told: Told) -> None:
    told.run(MAKE)
    told.run(Node(double, "made", "doubled", name="double_node"))
    assert set(told.statistics()) == {"made", "doubled"}


@pytest.mark.parametrize(("func", "told_as"), [(refuse, "too few"), (fall, "nobody's mistake")])
def test_a_node_that_fails_is_shown_with_its_reason(told: Told, func: Any, told_as: str) -> None:
    failing = Node(func, "made", "doubled", name="failing_node")
    status = told.run(MAKE, failing)
    assert status.pipeline.status == "failed"
    node = status.nodes[_hash(str(failing))]
    assert node.status == "failed"
    assert node.error is not None
    assert told_as in node.error.message
    assert ("Traceback" in node.error.traceback) == (func is fall)
    assert status.nodes[_hash(str(MAKE))].status == "success"


def test_a_dataset_that_cannot_be_read_is_named(told: Told) -> None:
    (told.folder / "made.parquet").write_bytes(b"no table")
    status = told.run(Node(double, "made", "doubled", name="double_node"))
    broken = status.datasets[_hash_input_output("made")]
    assert broken.status == "failed"
    assert broken.error is not None
    assert broken.error.error_node == "double_node"
    assert broken.error.error_operation == "loading"


def test_a_run_that_was_killed_is_no_success_and_a_later_one_keeps_what_it_did(told: Told) -> None:
    def killed(table: pd.DataFrame) -> pd.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        told.run(MAKE, Node(killed, "made", "doubled", name="double_node"))
    status = get_run_status_response()
    assert status.pipeline.status == "failed"
    assert status.pipeline.error is not None
    assert status.pipeline.error.message == NOT_ENDED
    took = status.nodes[_hash(str(MAKE))].duration
    assert took > 0

    told.journal.done = ["make_node"]
    status = told.run(MAKE, Node(double, "made", "doubled", name="double_node"))
    assert status.pipeline.status == "success"
    assert status.nodes[_hash(str(MAKE))].duration == took
    # Of another run nothing is taken over but that the node is done.
    told.journal.version = "2"
    status = told.run(MAKE, Node(double, "made", "doubled", name="double_node"))
    assert status.nodes[_hash(str(MAKE))].duration == 0


def test_a_file_that_cannot_be_written_costs_no_run(told: Told) -> None:
    (told.folder / ".viz").write_text("a file where the folder should be")
    told.run(MAKE)
    assert (told.folder / "made.parquet").is_file()


def test_without_kedro_viz_nothing_is_written(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_status, "find_spec", lambda name: None)
    told.run(MAKE)
    assert (told.folder / "made.parquet").is_file()
    assert not (told.folder / ".viz").exists()


def test_a_folder_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    described = SimpleNamespace(_describe=lambda: {"path": str(tmp_path)})
    assert stored_bytes(described) == 8
    assert stored_bytes(SimpleNamespace(_describe=lambda: {"path": "no such"})) is None
    assert stored_bytes(object()) is None
