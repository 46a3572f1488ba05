"""Gives every run a version of its own, and lets its nodes read what the run itself has made.

Kedro loads a dataset's newest version. A node would therefore read what another command has saved
in the meantime, or a version that a wrong clock has dated in the future, instead of what an earlier
node of the same run has made.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import VERSION_FORMAT, VersionNotFoundError
from kedro.pipeline import Pipeline

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import lock_file, unlock_file
from dpok_pipeline.runs.journal import use_version, versioned_datasets
from dpok_pipeline.runs.work import WorkFolders

#: How far another machine's clock may be ahead.
TOLERANCE = timedelta(minutes=1)


class VersionHooks:
    """Hooks that reserve the version of a run, and pin its outputs to it under any runner.

    A run that continues an interrupted one is pinned to that one's version by the journal, whose
    hooks come later.
    """

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._lock: FileLock | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context, which says where data lies."""
        self._context = context

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Refuse versions that would be read by mistake, and pin the outputs to the run's own.

        Raises:
            InputError: A dataset has a version later than now, --load-versions names an output, or
                another command has the same version.
        """
        version, chosen = run_params["run_id"], run_params["load_versions"] or {}
        for name in sorted(pipeline.all_outputs().intersection(chosen)):
            raise InputError(
                f"--load-versions {name}:{chosen[name]}: this command makes {name} anew; leave "
                "that out, or run only the pipelines that read it"
            )
        refuse_later_versions(pipeline.datasets().difference(chosen), catalog)
        self._reserve(version, pipeline, catalog)
        # Which outputs are missing depends on all versions that there are.
        if not run_params["only_missing_outputs"]:
            use_version(pipeline, catalog, version)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Give the version free, and those of commands that were killed."""
        self.interrupted()
        if self._context is not None:
            for path in (WorkFolders.of(self._context).runs / "versions").glob("*.lock"):
                with suppress(InputError):  # That command is still running.
                    unlock_file(lock_file(path, "in use"))

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Give the version free."""
        self.interrupted()

    def interrupted(self) -> None:
        """Give the version free; Kedro calls no hook after an interrupt or a refusal."""
        if self._lock is not None:
            unlock_file(self._lock)
            self._lock = None

    def _reserve(self, version: str, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Keep the version for this run: two commands may have begun in the same millisecond."""
        self.interrupted()
        taken = f"version {version}: another command has begun in the same millisecond; run again"
        for dataset in _versioned(pipeline.all_outputs(), catalog):
            if Path(dataset._get_versioned_path(version)).exists():
                raise InputError(taken)
        if self._context is not None:
            folder = WorkFolders.of(self._context).runs / "versions"
            self._lock = lock_file(folder / f"{version}.lock", taken)


def refuse_later_versions(names: Iterable[str], catalog: CatalogProtocol) -> None:
    """Refuse datasets whose newest version is dated in the future: it would be read ever after.

    Raises:
        InputError: There is such a dataset. The message names the folder and the remedy.
    """
    limit = (datetime.now(tz=UTC) + TOLERANCE).strftime(VERSION_FORMAT)
    for dataset in _versioned(names, catalog):
        try:
            newest = dataset.resolve_load_version()
        except VersionNotFoundError:
            continue
        dataset.release()  # Kedro would keep the answer.
        if newest is not None and newest > limit:
            raise InputError(
                f"{dataset._get_versioned_path(newest).parent}: later than now, so that it would "
                "be read in place of what this and all later runs make; remove or rename it, or "
                "put this machine's clock right"
            )


def _versioned(names: Iterable[str], catalog: CatalogProtocol) -> list[AbstractVersionedDataset]:
    """Return the datasets that have versions, but for those of which one is chosen."""
    datasets = versioned_datasets(names, catalog)
    return [dataset for dataset in datasets if dataset._version.load is None]
