"""`kedro run --workers N`: nodes run in worker processes, side by side or shared by several.

Loading, saving and all hooks stay in this process, one node at a time. So the catalog, the journal,
MLflow and what an interrupted command leaves behind are those of a run without workers.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from itertools import chain
from typing import Any, cast

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from kedro.runner.task import Task as KedroTask
from pluggy import PluginManager

from dpok_pipeline.pipelines.models import ComputeConfig, forget_models
from dpok_pipeline.pipelines.opening import COMPUTE
from dpok_pipeline.runs.runner import ContinuingRunner
from dpok_pipeline.workers.plan import Spread
from dpok_pipeline.workers.pool import WorkerPool
from dpok_pipeline.workers.processes import Launcher, LocalLauncher
from dpok_pipeline.workers.schedule import Schedule

logger = logging.getLogger(__name__)


#: Seconds without a word after which a worker is killed, and how often its node is begun again,
#: unless the user says otherwise.
TIMEOUT, RESTARTS = 60.0, 3


class TeamContinuingRunner(ContinuingRunner):
    """Runs nodes in worker processes.

    Args:
        workers: Number of processes.
        threads: Threads of each; None shares the machine's cores out.
        spread: Nodes side by side, or workers inside of one node.
        timeout: Seconds without a word after which a worker is killed.
        restarts: How often a node whose worker has died is begun again.
        address: That of a Ray cluster, whose machines the processes run on; None is this machine.
        is_async: As Kedro's runners have it; it must be false.
    """

    def __init__(
        self,
        workers: int = 2,
        threads: int | None = None,
        spread: Spread = "auto",
        timeout: float = TIMEOUT,
        restarts: int = RESTARTS,
        address: str | None = None,
        is_async: bool = False,
    ) -> None:
        if workers < 1 or timeout <= 0 or restarts < 0 or (threads is not None and threads < 1):
            raise ValueError("workers, threads and timeout are above 0, restarts not below")
        if spread not in ("auto", "nodes", "inside"):
            raise ValueError(f"spread is {spread}; give auto, nodes or inside")
        super().__init__(is_async=is_async)
        self.workers, self.spread, self.restarts = workers, spread, restarts
        self.threads, self.timeout, self.address = threads, timeout, address

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run the nodes, each as soon as what it reads is there and a worker is free."""
        if not pipeline.nodes:
            return
        ContinuingRunner.at_once = self.workers
        # The checks before the run have opened every model; here nobody needs them.
        forget_models()
        given = catalog.load(COMPUTE) if COMPUTE in catalog else ComputeConfig(device="cpu")
        launcher = choose_launcher(
            self.address, self.workers, self.threads, ComputeConfig.model_validate(given)
        )
        pool = WorkerPool(self.workers, launcher, self.timeout)
        nodes = NodeRunner(pipeline, catalog, cast(PluginManager, hook_manager), run_id, self)
        try:
            Schedule(pipeline, catalog, pool, nodes, self.spread, self.restarts).run()
        except Exception:
            self._suggest_resume_scenario(pipeline, (), catalog)
            raise
        finally:
            ContinuingRunner.at_once = 1
            pool.close()


def choose_launcher(
    address: str | None, workers: int, threads: int | None, compute: ComputeConfig
) -> Launcher:
    """Return how the processes of some workers are started.

    Args:
        address: Address of a Ray cluster; None starts them on this machine.
        workers: Number of workers.
        threads: Threads of each; None shares out the cores that there are.
        compute: Where their networks run.

    Raises:
        InputError: The cluster does not answer, or has no room for so many.
    """
    if address is None:
        return LocalLauncher(threads or max(cores() // workers, 1))
    from dpok_pipeline.workers.ray_cluster import RayLauncher

    return RayLauncher(address, workers, threads, compute.device in ("auto", "cuda"))


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class NodeRunner:
    """What happens in this process to a node that a worker runs: its hooks, inputs and outputs."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager,
        run_id: str | None,
        runner: ContinuingRunner,
    ) -> None:
        self._pipeline, self._catalog, self._runner = pipeline, catalog, runner
        self._hooks, self._about = hook_manager.hook, {"is_async": False, "run_id": run_id}
        self._hook_manager = hook_manager
        self._loads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))

    def begin(self, node: Node) -> dict[str, Any]:
        """Load a node's inputs, and let the hooks change them."""
        inputs = {}
        for name in node.inputs:
            self._hooks.before_dataset_loaded(dataset_name=name, node=node)
            inputs[name] = self._catalog.load(name)
            self._hooks.after_dataset_loaded(dataset_name=name, data=inputs[name], node=node)
        changed = KedroTask._collect_inputs_from_hook(
            node, self._catalog, inputs, False, self._hook_manager, run_id=self._about["run_id"]
        )
        return {**inputs, **changed}

    def finish(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        """Save a node's outputs."""
        self._hooks.after_node_run(
            node=node, catalog=self._catalog, inputs=inputs, outputs=outputs, **self._about
        )
        for name, data in outputs.items():
            self._hooks.before_dataset_saved(dataset_name=name, data=data, node=node)
            self._catalog.save(name, data)
            self._hooks.after_dataset_saved(dataset_name=name, data=data, node=node)
        self._runner._release_datasets(node, self._catalog, self._loads, self._pipeline)

    def fail(self, node: Node, inputs: dict[str, Any], error: BaseException) -> None:
        """Tell the hooks that a node has failed."""
        if isinstance(error, Exception):
            self._hooks.on_node_error(
                error=error, node=node, catalog=self._catalog, inputs=inputs, **self._about
            )
