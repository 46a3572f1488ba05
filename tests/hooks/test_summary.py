"""The last words of a comparison, whatever its experiments are called."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.hooks.summary import SummaryHooks
from dpok_pipeline.report.headline import first_line
from tests.evaluation.synthetic import METHODS, PAPER, compare_all, make_scores


def test_an_experiment_may_be_named_after_its_tables(caplog: pytest.LogCaptureFixture) -> None:
    comparison = compare_all(make_scores()[0], replicates=50)
    claims = judge_claims(comparison, PAPER.claims, METHODS)
    held: dict[str, Any] = {
        "my_comparison.comparison": comparison,
        "my_comparison.claims": claims,
        "params:comparison": SimpleNamespace(methods=METHODS, question=PAPER.question),
    }
    pipeline = SimpleNamespace(all_outputs=lambda: set(held))
    catalog = SimpleNamespace(load=held.__getitem__)
    with caplog.at_level(logging.INFO, logger="dpok_pipeline"):
        SummaryHooks()._summarise(cast(Pipeline, pipeline), cast(CatalogProtocol, catalog))
    said = caplog.records[0].getMessage()
    assert said.lstrip().startswith(first_line(comparison, claims, METHODS, PAPER.question))
