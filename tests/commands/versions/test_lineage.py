"""`kedro lineage` as it is typed; what it prints is in tests/lineage."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project

from dpok_pipeline.commands.versions.lineage import lineage
from tests.project import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("lineage") / "project")


def test_a_name_that_is_misspelt_and_one_without_a_past(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    bootstrap_project(project)
    misspelt = CliRunner().invoke(lineage, ["color.dpok.lara", "--env", "smoke"])
    assert misspelt.exit_code == 1
    (line,) = misspelt.stderr.splitlines()
    assert line == "Error: color.dpok.lara: no such dataset; did you mean color.dpok.lora?"
    shown = CliRunner().invoke(lineage, ["base_model", "--env", "smoke"])
    assert shown.exit_code == 0
    assert "data/01_raw/emoji_world/base_model/" in shown.output
    assert "MLflow is away" in shown.output
    assert not (project / "mlflow.db").exists()
