"""Env paper with tiny architectures in the same file formats: only configuration differs."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from benchmarks.full_size import BUDGET, EXPERIMENT, check
from benchmarks.paper_results import RESULTS

from benchmarks import paper_page
from tests.end_to_end.conftest import Command, Outcome, error_of, versions
from tests.project import ROOT

pytestmark = pytest.mark.xdist_group("whole run")

WORLD = "data/01_raw/emoji_world"
PLACES = ",".join(
    [
        f"base_model={WORLD}/base_model",
        f"image_reward={WORLD}/image_reward",
        f"aesthetic={WORLD}/aesthetic",
        f"clip={WORLD}/aesthetic/clip",
    ]
)


@pytest.fixture(scope="module")
def no_network() -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def paper_run(project: Path, kedro_run: Command, no_network: None) -> Outcome:
    """All five pipelines with one experiment, local folders and the cut budget."""
    (project / "conf" / "paper" / "experiments.yml").write_text(f"experiments: [{EXPERIMENT}]\n")
    result = kedro_run("--params", ",".join([PLACES, *BUDGET]), env="paper")
    assert result.exit_code == 0, result.output
    return result


def test_every_stage_has_an_effect(paper_run: Outcome, project: Path) -> None:
    rows = check(project)
    assert [what for what, _, good in rows if not good] == []
    assert len(rows) == 5


def test_only_the_experiments_of_the_environment_have_run(
    paper_run: Outcome, project: Path
) -> None:
    made = {path.relative_to(project / "data" / "paper") for path in versions(project, "paper")}
    assert {path.parts[1] for path in made if path.parts[0] == "06_models"} == {EXPERIMENT, "work"}
    assert not any("count" in path.parts for path in made)


def test_the_judges_column_is_absent(paper_run: Outcome, project: Path) -> None:
    (table,) = (project / "data" / "paper" / "08_reporting").glob("comparison.csv/*/[!_]*")
    metrics = set(pd.read_csv(table)["metric"])
    assert {"image_reward", "aesthetic"} <= metrics
    assert "judge" not in metrics


def test_a_preset_that_does_not_exist(kedro_run: Command, project: Path) -> None:
    line = error_of(kedro_run("--params", "preset=paper", env="smoke"))
    assert "preset: no such parameter" in line


def test_the_hub_is_needed_and_not_there(
    paper_run: Outcome, kedro_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    result = kedro_run("--pipelines", "prompt_preparation", env="paper")
    line = error_of(result)
    assert line.startswith("Error: stable-diffusion-v1-5/stable-diffusion-v1-5: ")
    assert "folder" in line
    assert mlflow.active_run() is None


def test_our_numbers_go_beside_the_papers(
    paper_run: Outcome,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = project / "docs" / "stable_diffusion.md"
    page.parent.mkdir()
    shutil.copy(ROOT / "docs" / "stable_diffusion.md", page)
    monkeypatch.setattr("sys.argv", ["paper_page"])
    paper_page.main()
    reporting = project / "data" / "paper" / "08_reporting"
    (table,) = reporting.glob(f"{EXPERIMENT}/comparison.csv/*/[!_]*")
    comparison = pd.read_csv(table).query(
        "split == 'train' and metric == 'image_reward' and quantity == 'dpok'"
    )
    expected = f"{comparison['mean'].iloc[0]:.2f} (".replace("-", "−")
    (row,) = [line for line in page.read_text().splitlines() if "| 1.51 |" in line]
    assert f"| 1.51 | {expected}" in row
    assert row in capsys.readouterr().out
    # The other presets have not been evaluated, nor all four of the prompts that have a mean.
    assert page.read_text().count("not run yet") == len(RESULTS) - 2


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("coco", "coco.comparison: nothing of preset coco has been evaluated in env paper"),
        ("paper_reading", "location.comparison: the newest one is of preset official_code; give"),
        ("low_memory", "--preset low_memory: the paper has no numbers for it; there are official"),
    ],
)
def test_presets_without_numbers(
    paper_run: Outcome,
    preset: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["paper_page", "--preset", preset])
    with pytest.raises(SystemExit, match="1"):
        paper_page.main()
    assert message in capsys.readouterr().err
