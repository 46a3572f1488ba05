"""Fills in the task of each node: whose work it does, in which folder, and where it logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.lineage.recording import LineageHooks
from dpok_pipeline.pipelines.models import forget_models
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.runs import work
from dpok_pipeline.runs.work import WorkFolders


class TaskHooks:
    """Hooks that fill in the tasks of nodes, and clear the work of finished runs.

    Args:
        tracking: Hooks that open a run for each node that logs metrics.
        lineage: Hooks that know what a node has read, and where that comes from.
    """

    def __init__(self, tracking: TrackingHooks, lineage: LineageHooks) -> None:
        self._tracking, self._lineage = tracking, lineage
        self._context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the context, which says where work lies and whether to go on with it."""
        self._context = context

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
        """Replace the node's task by one that is filled in."""
        name = task_name(node)
        if name is None or self._context is None:
            return {}
        task, short = inputs[name], node.name.rpartition(".")[2]
        # The group has the same name for every method, so that MLflow compares runs by columns.
        parameters = {
            "params:method" if key == f"params:methods.{task.method}" else key: value
            for key, value in inputs.items()
            if key.startswith("params:")
        }
        address = self._tracking.open_child(node.name, task.experiment, task.method, parameters)
        folder = WorkFolders.of(self._context).folder(task, short.removesuffix("_node"))
        folder.mkdir(parents=True, exist_ok=True)
        resume = self._context.config_loader["parameters"]["resume"]
        fields = {"node": short, "work": folder, "resume": resume, "tracker": address}
        fields["lineage"] = self._lineage.lineage(node)
        return {name: task.model_copy(update=fields)}

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Remove the work of this run's nodes, so that the next run starts afresh."""
        forget_models()
        if self._context is not None:
            for folder in work_folders(pipeline, catalog, WorkFolders.of(self._context)):
                work.clear(folder)


def task_name(node: Node) -> str | None:
    """Name the parameter that holds a node's task; None if the node has none."""
    return next((name for name in node.inputs if name.endswith(".task")), None)


def work_folders(pipeline: Pipeline, catalog: CatalogProtocol, folders: WorkFolders) -> list[Path]:
    """List the work folders of a pipeline's nodes."""
    paths = []
    for node in pipeline.nodes:
        name = task_name(node)
        if name is not None:
            task = Task.model_validate(catalog.load(name))
            short = node.name.rpartition(".")[2].removesuffix("_node")
            paths.append(folders.folder(task, short))
    return paths
