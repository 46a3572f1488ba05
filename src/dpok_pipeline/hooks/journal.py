"""Continues a crashed run, and notes whole runs that have succeeded."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.datasets.work_folder import WorkFolderDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.runs.finished import RUN_WORK, note_finished
from dpok_pipeline.runs.identity import describe_run, hash_code
from dpok_pipeline.runs.journal import Journal, journal_path, remove_outputs, saved, use_version

logger = logging.getLogger(__name__)

RUNNER = "ContinuingRunner"
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
    """Writes the journal as nodes finish, and reads it when the same command is given again.

    It works together with `ContinuingRunner`, which leaves out the nodes that are done. Under any
    other runner, and with --only-missing-outputs, nothing is continued; the lock alone is taken,
    by which `kedro retention` knows that a run is going on.
    """

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._catalog: CatalogProtocol | None = None
        self._journal: Journal | None = None
        self._path = Path()
        self._lock: FileLock | None = None
        self._whole = False
        self._saved: set[str] = set()

    @property
    def done(self) -> list[str]:
        """The nodes that are not to run: the crashed run has finished them."""
        return [] if self._journal is None else self._journal.done

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context: it holds the parameter `resume`, and kedro-mlflow's configuration."""
        self._context = context

    # First: after kedro-mlflow's hook, an error would leave its run open, and its run's id could
    # not be chosen any more.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Find the journal of a crashed run of the same command, or begin one."""
        self._journal, self._catalog = None, catalog
        narrowed = any(run_params[option] for option in NARROWING)
        names = [name for name in run_params["pipeline_names"] or () if name != "__default__"]
        self._whole = not narrowed and not names
        nodes = "\n".join(sorted(node.name for node in pipeline.nodes)).encode()
        key = hashlib.sha256(nodes).hexdigest()[:8] if narrowed else ""
        self._path = journal_path(catalog.load(RUN_WORK), run_params["env"], names, key)
        self._acquire()
        if RUNNER not in run_params["runner"] or run_params["only_missing_outputs"]:
            return
        try:
            self._begin(pipeline, catalog, run_params["run_id"])
        except BaseException:
            self._release()
            raise

    @hook_impl(trylast=True)
    def before_node_run(self) -> None:
        """Note the run in MLflow, which kedro-mlflow has opened by now."""
        import mlflow

        if self._journal is not None and not self._path.is_file():
            active = mlflow.active_run()
            self._journal.tracking_run = None if active is None else str(active.info.run_id)
            self._journal.write(self._path)

    # Last: what MLflow shall have of an output, it has by now.
    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Note a node as done once its last output is saved whole."""
        if self._journal is None or self._catalog is None:
            return
        if getattr(self._catalog.get(dataset_name), "unfinished", False):
            return
        self._saved.add(dataset_name)
        if self._saved.issuperset(node.outputs):
            self._journal.done.append(node.name)
            self._journal.write(self._path)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Begin afresh the next time, and note a whole run."""
        journal = self._journal
        if journal is not None:
            if self._whole and journal.code == hash_code():
                identity = {**journal.identity, "code": journal.code}
                note_finished(catalog.load(RUN_WORK), identity, journal.version)
            self._path.unlink(missing_ok=True)
        self._release()

    @hook_impl
    def on_pipeline_error(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Keep the journal of a run that got somewhere."""
        work = [catalog.get(name) for name in pipeline.inputs()]
        started = any(dataset.used for dataset in work if isinstance(dataset, WorkFolderDataset))
        if self._journal is not None and not self._journal.done and not started:
            self._path.unlink(missing_ok=True)
        self._release()

    def interrupted(self) -> None:
        """Let another process continue the run: Kedro calls no hook when it is interrupted."""
        self._release()

    def _begin(self, pipeline: Pipeline, catalog: CatalogProtocol, version: str) -> None:
        """Continue the run of the journal that is there, or begin a new one."""
        identity, code = describe_run(pipeline, catalog), hash_code()
        self._saved = set()
        found = Journal.read(self._path)
        if found is not None:
            other = [node for node in pipeline.nodes if node.name not in found.done]
            remove_outputs(other, catalog, found.version)
        if found is None or not self._wanted(found, identity, len(pipeline.nodes)):
            self._path.unlink(missing_ok=True)
            self._journal = Journal(version, identity, code)
            return
        use_version(pipeline, catalog, found.version)
        there = [node for node in pipeline.nodes if node.name in found.done]
        found.done = [node.name for node in there if saved(node, catalog)]
        remove_outputs(
            [node for node in there if node.name not in found.done], catalog, found.version
        )
        if found.code != code:
            found.code = "changed while the run was interrupted"
            logger.warning("The code has changed since the interrupted run began")
        found.tracking_run = self._reopen(found.tracking_run)
        self._journal = found
        logger.info(
            "Continuing the interrupted run %s: %d of %d nodes are done",
            found.version,
            len(found.done),
            len(pipeline.nodes),
        )

    def _wanted(self, found: Journal, identity: dict[str, str], nodes: int) -> bool:
        """Say whether to continue a run.

        Raises:
            InputError: It was made from something else, and some of it is done.
        """
        if self._context is None or self._context.config_loader["parameters"]["resume"] == "never":
            return False
        if not found.done:
            return found.identity == identity
        found.check_same(identity, nodes)
        return True

    def _reopen(self, run_id: str | None) -> str | None:
        """Have kedro-mlflow open the crashed run again, if it is still there."""
        import mlflow
        from mlflow.exceptions import MlflowException

        config = getattr(self._context, "mlflow", None)
        if run_id is None or config is None:
            return None
        try:
            info = mlflow.MlflowClient().get_run(run_id).info
        except MlflowException:
            return None
        experiment = config.tracking.experiment._experiment.experiment_id
        if info.lifecycle_stage != "active" or info.experiment_id != experiment:
            return None
        config.tracking.run.id = run_id
        return run_id

    def _acquire(self) -> None:
        """Keep other processes from continuing a run that is going on."""
        self._release()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self._lock = None
            raise InputError(
                f"{self._path.with_suffix('.lock')}: the same command is running already; wait "
                "until it has ended"
            ) from None

    def _release(self) -> None:
        if self._lock is not None:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None
