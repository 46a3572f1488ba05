"""`kedro claims`: the comparison over several training seeds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol

from dpok_pipeline import seeds
from dpok_pipeline.pipelines.experiments import EXPERIMENTS
from tests.end_to_end.conftest import Outcome

pytestmark = pytest.mark.xdist_group("whole run")


@pytest.fixture
def runs(finished: Outcome, catalog: CatalogProtocol, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands in for the runs: each gives what the one whole run gave. The seeds asked for."""
    asked: list[int] = []

    def run(seed: int, env: str | None) -> list:
        asked.append(seed)
        return [catalog.load(f"{experiment}_report_parts") for experiment in EXPERIMENTS]

    monkeypatch.setattr(seeds, "_run", run)
    return asked


def claims(project: Path, *arguments: str):
    from dpok_pipeline.cli import cli

    metadata = bootstrap_project(project)
    return CliRunner().invoke(cli, ["claims", "--env", "smoke", *arguments], obj=metadata)


def test_every_seed_is_run_and_all_are_compared(
    runs: list[int], project: Path, catalog: CatalogProtocol
) -> None:
    result = claims(project, "--seeds", "0,3")
    assert result.exit_code == 0, result.output
    assert runs == [0, 3]
    comparison = catalog.load("all_seeds.comparison")
    assert set(comparison["training_seeds"]) == {2}
    assert set(comparison["experiment"]) == {*EXPERIMENTS, "all"}
    assert isinstance(catalog.load("all_seeds.claims"), pd.DataFrame)
    assert "2 training seeds" in catalog.load("all_seeds.report")


def test_seeds_are_numbers(project: Path) -> None:
    result = claims(project, "--seeds", "zero")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: --seeds zero: give whole numbers")
