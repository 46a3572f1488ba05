"""Hooks of a run: checks before it, progress and tracking during it, a summary after it."""

from __future__ import annotations

from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.hooks.preconditions import PreconditionHooks
from dpok_pipeline.hooks.progress import ProgressHooks
from dpok_pipeline.hooks.summary import SummaryHooks
from dpok_pipeline.hooks.tasks import TaskHooks
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.hooks.versions import VersionHooks

TRACKING = TrackingHooks()
JOURNAL = JournalHooks(TRACKING)
VERSIONS = VersionHooks()
# Of the hooks that ask to be called first or last, the last one in this list is called first:
# preconditions come before versions; and the journal, which may pin an interrupted run's version,
# is written before MLflow is asked for a run.
HOOKS = (
    JOURNAL,
    VERSIONS,
    PreconditionHooks(),
    TRACKING,
    TaskHooks(TRACKING),
    ProgressHooks(JOURNAL),
    SummaryHooks(),
)
