"""Continues a run that was interrupted, and notes whole runs that have succeeded."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.files.locks import lock_file, unlock_file
from dpok_pipeline.hooks.tasks import work_folders
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.runs.code import hash_code
from dpok_pipeline.runs.finished import note_finished
from dpok_pipeline.runs.identity import (
    Identity,
    code_in_memory,
    describe_run,
    unchanged_code,
)
from dpok_pipeline.runs.journal import (
    Journal,
    hash_output,
    journal_path,
    outputs_whole,
    remove_outputs,
    use_version,
)
from dpok_pipeline.runs.runner import ContinuingRunner
from dpok_pipeline.runs.work import WorkFolders, is_used

logger = logging.getLogger(__name__)

# Options of `kedro run` that leave nodes out, or read other data.
NARROWING = (
    "tags",
    "from_nodes",
    "to_nodes",
    "node_names",
    "from_inputs",
    "to_outputs",
    "load_versions",
    "namespaces",
)


class JournalHooks:
    """Hooks that write the journal as nodes finish, and read it when the command is given again.

    They work together with `ContinuingRunner`, which leaves out the nodes that are done. Under any
    other runner, and with --only-missing-outputs, nothing is continued. Only the lock is taken, by
    which `kedro retention` knows that a run is going on.

    Args:
        tracking: Hooks that open the command's run in MLflow, or an interrupted command's again.
    """

    def __init__(self, tracking: TrackingHooks) -> None:
        self._tracking = tracking
        self._context: KedroContext | None = None
        self._catalog: CatalogProtocol | None = None
        self._journal: Journal | None = None
        self._path = Path()
        self._lock: FileLock | None = None
        self._whole = False
        self._saved: set[str] = set()

    @property
    def done(self) -> list[str]:
        """Names of the nodes that are left out, because the interrupted run has finished them."""
        return [] if self._journal is None else self._journal.done

    @property
    def version(self) -> str:
        """The version of the run, or that of the interrupted one; empty without a journal."""
        return "" if self._journal is None else self._journal.version

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context, which holds the parameter `resume` and says where work lies."""
        self._context = context
        code_in_memory()  # as early as can be: it is that of the modules that are imported now

    # The journal comes after all that can refuse the command, and before tracking: a run that
    # MLflow opens can be found again, because the journal with its key lies on the disk by then.
    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Find the journal of an interrupted run of the same command, or begin a new one."""
        code = unchanged_code()
        self._journal = None
        ContinuingRunner.done = ()
        narrowed = any(run_params[option] for option in NARROWING)
        names = [name for name in run_params["pipeline_names"] or () if name != "__default__"]
        self._whole = not narrowed and not names
        nodes = "\n".join(sorted(node.name for node in pipeline.nodes)).encode()
        key = hashlib.sha256(nodes).hexdigest()[:8] if narrowed else ""
        folders = self._folders()
        self._path = journal_path(
            folders.runs, run_params["env"], names, key, folders.training_seed
        )
        self._acquire()
        if (
            ContinuingRunner.__name__ not in run_params["runner"]
            or run_params["only_missing_outputs"]
        ):
            return
        try:
            self._begin(pipeline, catalog, run_params["run_id"], code)
        except BaseException:
            self._release()
            raise

    # The journal comes last: MLflow has every output that counts as saved.
    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Note a node as done once all its outputs are saved whole."""
        if self._journal is None or self._catalog is None:
            return
        self._saved.add(dataset_name)
        if (digest := hash_output(dataset_name, self._catalog)) is not None:
            self._journal.files[dataset_name] = digest
        if self._saved.issuperset(node.outputs):
            self._journal.done.append(node.name)
            self._journal.write(self._path)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Note a whole run, and remove the journal, so that the next run starts afresh."""
        journal = self._journal
        if journal is not None:
            if journal.code != hash_code():
                logger.warning(
                    "The code has changed while the run %s was going on; `kedro claims` does not "
                    "take it for a finished one",
                    journal.version,
                )
            elif self._whole:
                identity = {**journal.identity, "code": journal.code}
                note_finished(self._folders().runs, identity, journal.version)
            self._path.unlink(missing_ok=True)
        self._release()

    @hook_impl
    def on_pipeline_error(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Remove the journal of a run that has finished no node and left no work."""
        # A file system that refuses must not hide why the run has failed; a journal without a
        # finished node binds nobody.
        with suppress(OSError):
            started = any(map(is_used, work_folders(pipeline, catalog, self._folders())))
            if self._journal is not None and not self._journal.done and not started:
                self._path.unlink(missing_ok=True)
        self._release()

    def interrupted(self) -> None:
        """Release the lock, so that the run can be continued; Kedro calls no hook here."""
        self._release()

    def _folders(self) -> WorkFolders:
        if self._context is None:
            raise RuntimeError("Kedro makes the context before it runs a pipeline")
        return WorkFolders.of(self._context)

    def _begin(self, pipeline: Pipeline, catalog: CatalogProtocol, version: str, code: str) -> None:
        """Continue the run of the journal at `_path`, if there is one, or begin a new one.

        Args:
            pipeline: Nodes of the run.
            catalog: Catalog of the run.
            version: Version that a new run saves its outputs under.
            code: Hash of the code that is running.

        Raises:
            InputError: The interrupted run has finished nodes, but has other parameters or inputs.
        """
        identity = describe_run(pipeline, catalog)
        self._saved, self._catalog = set(), catalog
        journal = Journal.read(self._path)
        if journal is not None and self._is_continued(journal, identity, len(pipeline.nodes)):
            self._tracking.prepare(journal.key)
            self._continue(journal, pipeline, catalog)
            if journal.code != code:
                journal.code = "changed while the run was interrupted"
                logger.warning("The code has changed since the interrupted run began")
        else:
            if journal is not None:
                self._tracking.give_up(journal.key)
                _remove_unfinished(journal, pipeline, catalog)
            journal = Journal(version=version, identity=identity, code=code)
            self._tracking.prepare(journal.key)
        journal.write(self._path)
        self._journal = journal

    def _continue(self, journal: Journal, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Take over an interrupted run: its version and its finished nodes."""
        use_version(pipeline, catalog, journal.version)
        _remove_unfinished(journal, pipeline, catalog)
        finished = [node for node in pipeline.nodes if node.name in journal.done]
        # Somebody may have removed or changed an output since. Its node runs again, and with it the
        # nodes that have read the output: what is made again need not have the same bytes.
        damaged = [
            node.name for node in finished if not outputs_whole(node, catalog, journal.files)
        ]
        again = {node.name for node in pipeline.from_nodes(*damaged).nodes} if damaged else set()
        remove_outputs([node for node in finished if node.name in again], catalog, journal.version)
        journal.done = [node.name for node in finished if node.name not in again]
        ContinuingRunner.done = tuple(journal.done)
        logger.info(
            "Continuing the interrupted run %s: %d of %d nodes are done",
            journal.version,
            len(journal.done),
            len(pipeline.nodes),
        )

    def _is_continued(self, journal: Journal, identity: Identity, nodes: int) -> bool:
        """Say whether the run of a journal is continued.

        Raises:
            InputError: The run has finished nodes, but has other parameters or inputs.
        """
        if self._context is None or self._context.config_loader["parameters"]["resume"] == "never":
            return False
        if not journal.done:
            return journal.identity == identity
        journal.check_same(identity, nodes)
        return True

    def _acquire(self) -> None:
        """Take the lock, so that no other process continues this run while it is going on."""
        self._release()
        path = self._path.with_suffix(".lock")
        self._lock = lock_file(
            path, f"{path}: the same command is running already; wait until it has ended"
        )

    def _release(self) -> None:
        if self._lock is not None:
            unlock_file(self._lock)
            self._lock = None


def _remove_unfinished(journal: Journal, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Remove what those nodes have saved that the interrupted run has not finished."""
    unfinished = [node for node in pipeline.nodes if node.name not in journal.done]
    remove_outputs(unfinished, catalog, journal.version)
