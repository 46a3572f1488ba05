"""The five pipelines on a tiny random world, and parts of them from what is in the catalog."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.conftest import Command


def test_a_missing_table_of_prompts_names_the_pipeline_that_makes_it(kedro_run: Command) -> None:
    result = kedro_run("--pipelines", "rl_training", "--namespaces", "color")
    assert result.exit_code == 1
    assert "run prompt_preparation first" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_prompts(kedro_run: Command, project: Path) -> None:
    result = kedro_run("--pipelines", "prompt_preparation")
    assert result.exit_code == 0, result.output
    assert list(project.glob("data/smoke/03_primary/prompts.parquet/*/prompts.parquet"))
