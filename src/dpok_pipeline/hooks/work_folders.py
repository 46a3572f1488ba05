"""Clears checkpoints once a run has succeeded."""

from __future__ import annotations

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.datasets.work_folder import WorkFolderDataset


class WorkFolderHooks:
    """An interrupted run is continued by the same command; after a success one starts afresh."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Remove the work folders that this run's nodes used."""
        for name in pipeline.inputs():
            dataset = catalog.get(name)
            if isinstance(dataset, WorkFolderDataset):
                dataset.clear()
