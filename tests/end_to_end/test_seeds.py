"""`kedro claims`: the comparison over several training seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol

from dpok_pipeline.commands.over_seeds import claims as seeds
from dpok_pipeline.errors import InputError
from dpok_pipeline.lineage.records import read_record
from dpok_pipeline.runs.finished import note_finished
from dpok_pipeline.runs.identity import describe_whole_run
from dpok_pipeline.runs.work import WorkFolders
from tests.conftest import CodeOnDisk
from tests.end_to_end.conftest import Outcome
from tests.project import EXPERIMENTS

pytestmark = pytest.mark.xdist_group("whole run")


@pytest.fixture
def runs(finished: Outcome, catalog: CatalogProtocol, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stands in for the runs: each gives what the one whole run gave, and is noted as runs are.

    The seeds that were run.
    """
    asked: list[int] = []

    def run(seed: int, env: str | None, resume: str, workers: int | None) -> list:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(seed)
        with KedroSession.create(env=env, runtime_params=seeds._parameters(seed)) as session:
            context = session.load_context()
        identity = describe_whole_run(pipelines["__default__"], context.catalog)
        # Its own version: other tests have written newer reports since.
        version = re.findall(r"08_reporting/report.html/([^/]+)/", finished.log)[-1]
        note_finished(WorkFolders.of(context).runs, identity, version)
        return seeds._parts(context, version)

    monkeypatch.setattr(seeds, "_run", run)
    return asked


def claims(project: Path, *arguments: str):
    from dpok_pipeline.cli import cli

    metadata = bootstrap_project(project)
    return CliRunner().invoke(cli, ["claims", "--env", "smoke", *arguments], obj=metadata)


def test_every_seed_is_run_and_all_are_compared(
    runs: list[int], project: Path, catalog: CatalogProtocol
) -> None:
    result = claims(project, "--seeds", "0,3", "--resume", "never")
    assert result.exit_code == 0, result.output
    assert runs == [0, 3]
    comparison = catalog.load("all_seeds.comparison")
    assert set(comparison["training_seeds"]) == {2}
    assert set(comparison["experiment"]) == {*EXPERIMENTS, "all"}
    assert isinstance(catalog.load("all_seeds.claims"), pd.DataFrame)
    page = catalog.load("all_seeds.report")
    assert "2 training seeds" in page
    assert page.count('<details class="origin"') == 3 * len(EXPERIMENTS)
    record = read_record(Path(catalog.get("all_seeds.report")._get_load_path()).parent)
    assert record is not None
    assert len(record.inputs) == 2 * len(EXPERIMENTS)


def test_seeds_that_have_finished_are_not_run_again(runs: list[int], project: Path) -> None:
    """Seed 0 is the whole run itself: a plain `kedro run`."""
    assert claims(project, "--seeds", "0,5,6,7").exit_code == 130
    assert runs == [5, 6]
    runs.clear()
    assert claims(project, "--seeds", "0,5,6,7").exit_code == 0
    assert runs == [7]


@pytest.mark.stress
def test_a_seed_of_other_parameters_or_code_is_run(
    runs: list[int], project: Path, code_on_disk: CodeOnDisk
) -> None:
    parameters = project / "conf" / "smoke" / "parameters.yml"
    text = parameters.read_text()
    parameters.write_text(text.replace("iterations: 2", "iterations: 3"))
    assert claims(project, "--seeds", "0").exit_code == 0
    parameters.write_text(text)
    assert runs == [0]
    code_on_disk.begin_with("other")
    assert claims(project, "--seeds", "0").exit_code == 0
    assert runs == [0, 0]


@pytest.mark.parametrize("asked", ["0,1", pytest.param("0", marks=pytest.mark.stress)])
def test_seeds_of_two_codes_are_not_compared(
    asked: str, project: Path, monkeypatch: pytest.MonkeyPatch, code_on_disk: CodeOnDisk
) -> None:
    """Seed 1 would run the old modules, and be noted as finished by the new ones."""
    ran: list[int] = []

    def run(seed: int, *_: object) -> list:
        ran.append(seed)
        code_on_disk.edit("new")
        return []

    monkeypatch.setattr(seeds, "_run", run)
    code_on_disk.begin_with("old")
    result = claims(project, "--seeds", asked)
    assert result.exit_code == 1
    assert "the code has changed since this command began" in result.stderr.splitlines()[-1]
    assert ran == [0]


def test_a_finished_seed_whose_parts_were_removed_is_run_again(
    runs: list[int], project: Path, catalog: CatalogProtocol
) -> None:
    folder = Path(catalog.get("color_report_parts")._filepath)  # with all versions
    folder.rename(folder.with_name("away"))
    try:
        assert seeds._finished(0, "smoke") == []
    finally:
        folder.with_name("away").rename(folder)
    assert len(seeds._finished(0, "smoke")) == len(EXPERIMENTS)


def test_the_comparison_over_seeds_takes_the_configured_replicates(
    runs: list[int], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, int] = {}

    def remember(*arguments, replicates: int, seed: int, **others):
        asked.update(replicates=replicates, seed=seed)
        raise InputError("stopped")

    monkeypatch.setattr("dpok_pipeline.evaluation.comparison.compare", remember)
    assert claims(project, "--seeds", "0").exit_code == 1
    assert asked == {"replicates": 200, "seed": 20230525}


def test_seeds_are_numbers(project: Path) -> None:
    result = claims(project, "--seeds", "zero")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: --seeds zero: give whole numbers")
