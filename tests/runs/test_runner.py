"""The project's runner."""

from __future__ import annotations

import logging

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.runs.runner import ContinuingRunner


def double(number: int) -> int:
    return 2 * number


def test_what_kedro_says_goes_by_its_own_name(caplog: pytest.LogCaptureFixture) -> None:
    """So that conf/logging.yml, which is about Kedro by name, can keep it quiet."""
    caplog.set_level(logging.INFO, logger="kedro.runner")
    pipeline = Pipeline([Node(double, "one", "two", name="double")])
    catalog = DataCatalog({"one": MemoryDataset(1), "two": MemoryDataset()})
    assert ContinuingRunner().run(pipeline, catalog)["two"].load() == 2
    said = [record.name for record in caplog.records if "Completed node" in record.getMessage()]
    assert said == ["kedro.runner"]
