"""Shows on the terminal what an evaluation has found, and where its reports are."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.pipelines.mlflow_store import MESSENGER

logger = logging.getLogger(__name__)
#: Outputs that a person opens, by the last part of their names.
PAGES = ("report", "study_page")


class SummaryHooks:
    """Hooks that end a comparison with a table of its numbers, and say what MLflow lacks."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log the answer, a table of prompts and methods, and the paths of the reports."""
        self._summarise(pipeline, catalog)
        MESSENGER.conclude()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Say what MLflow lacks of a run that has failed."""
        MESSENGER.conclude()

    def _summarise(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        outputs = pipeline.all_outputs()
        tables = sorted(name for name in outputs if name.rpartition(".")[2] == "comparison")
        reports = sorted(name for name in outputs if name.rpartition(".")[2] in PAGES)
        if not tables:
            return
        from dpok_pipeline.report.headline import terminal_summary

        shown = ["comparison"] if "comparison" in tables else tables
        # One node makes both; an experiment's own name may hold either word.
        beside = [f"{name.removesuffix('comparison')}claims" for name in shown]
        comparison, claims = (
            pd.concat([catalog.load(name) for name in names], ignore_index=True)
            for names in (shown, beside)
        )
        config = catalog.load("params:comparison")
        summary = terminal_summary(comparison, claims, config.methods, config.question)
        logger.info("\n%s\n", summary)
        for name in reports:
            logger.info("%-20s %s", name, _path(catalog, name))
        logger.info("\nMLflow runs: make mlflow    Pipelines and previews: make viz")


def _path(catalog: CatalogProtocol, name: str) -> Path:
    path = Path(catalog.get(name)._get_load_path())
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
