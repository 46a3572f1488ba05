"""What follows a run: checks before it, progress and tracking during it, a summary after it."""

from __future__ import annotations

from dpok_pipeline.hooks.experiments import ExperimentHooks
from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.hooks.preconditions import PreconditionHooks
from dpok_pipeline.hooks.progress import ProgressHooks
from dpok_pipeline.hooks.summary import SummaryHooks
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.hooks.work_folders import WorkFolderHooks

JOURNAL = JournalHooks()
TRACKING = TrackingHooks()
# Of those that ask to be first, the last one here is: what is missing is said before all else.
HOOKS = (
    JOURNAL,
    ExperimentHooks(),
    PreconditionHooks(),
    TRACKING,
    WorkFolderHooks(),
    ProgressHooks(JOURNAL),
    SummaryHooks(),
)
