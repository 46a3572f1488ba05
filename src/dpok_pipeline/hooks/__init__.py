"""Hooks of a run: checks before it, progress and tracking during it, a summary after it."""

from __future__ import annotations

from dpok_pipeline.hooks.journal import JournalHooks
from dpok_pipeline.hooks.preconditions import PreconditionHooks
from dpok_pipeline.hooks.progress import ProgressHooks
from dpok_pipeline.hooks.summary import SummaryHooks
from dpok_pipeline.hooks.tasks import TaskHooks
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.hooks.versions import VersionHooks
from dpok_pipeline.hooks.viz.run_status import RunStatusHooks
from dpok_pipeline.lineage.recording import LineageHooks

TRACKING = TrackingHooks()
JOURNAL = JournalHooks(TRACKING)
VERSIONS = VersionHooks()
LINEAGE = LineageHooks(TRACKING)
# Of the hooks that ask to be called first, the last one in this list is called first, and of those
# that ask to be called last it is called last: preconditions come before versions; the journal,
# which may pin an interrupted run's version, is written before MLflow is asked for a run; and
# kedro-viz is told at the very last, of a run that nothing has refused.
HOOKS = (
    JOURNAL,
    VERSIONS,
    PreconditionHooks(),
    TRACKING,
    # Called before TRACKING, which ends the run of a node that has saved everything.
    LINEAGE,
    TaskHooks(TRACKING, LINEAGE),
    ProgressHooks(JOURNAL),
    SummaryHooks(),
    RunStatusHooks(JOURNAL),
)
