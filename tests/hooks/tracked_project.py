"""A small pipeline that is tracked: real datasets and hooks, in the order of a Kedro session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from mlflow import MlflowClient
from mlflow.entities import Run

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.task import Task

FIRST, SECOND, THIRD = (f"2026-01-31T{hour}.00.00.000Z" for hour in (12, 13, 14))
TABLE = "dpok_pipeline.datasets.whole_files.CSVDataset"


class Inner(FrozenConfig):
    rank: int = 4


class Group(FrozenConfig):
    lora: Inner = Inner()
    rate: float = 0.1


class TaskHooks:
    """Fills in the tasks of nodes, as the project's hook does."""

    def __init__(self, hooks: TrackingHooks) -> None:
        self._hooks = hooks

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
        groups = {name: value for name, value in inputs.items() if name.startswith("params:")}
        tasks = {name: Task(**value) for name, value in groups.items() if name.endswith("task")}
        return {
            name: task.model_copy(
                update={
                    "tracker": self._hooks.open_child(
                        node.name, task.experiment, task.method, groups
                    )
                }
            )
            for name, task in tasks.items()
        }


class Project:
    """Prompts, one training and a comparison, tracked in an MLflow experiment of their own."""

    def __init__(self, folder: Path, client: MlflowClient) -> None:
        self.folder, self.client = folder, client
        self.hooks = TrackingHooks()
        self.config: dict[str, Any] = {
            "tracking_uri": client.tracking_uri,
            "experiment_name": folder.name,
            "artifact_location": f"file://{folder / 'artifacts'}",
        }
        self.parameters: dict[str, Any] = {
            "training": Group(),
            "color.dpok.task": {"experiment": "color", "method": "dpok"},
            "color.task": {"experiment": "color"},
        }
        self.steps = range(1, 4)
        self.crash: Callable[[], None] = lambda: None
        self.addresses: dict[str, Any] = {}
        self.pipeline = Pipeline(
            [
                Node(self._prepare, ["params:training"], "prompts", name="prepare"),
                Node(
                    self._train,
                    ["prompts", "params:training", "params:color.dpok.task"],
                    ["color.dpok.curves", "color.dpok.more"],
                    name="color.dpok.train_lora",
                ),
                Node(
                    self._compare,
                    ["color.dpok.curves", "params:color.task"],
                    "color.comparison",
                    name="color.compare_methods",
                ),
            ]
        )

    def _prepare(self, group: Group) -> pd.DataFrame:
        return pd.DataFrame({"text": ["a cat", "a dog"]})

    def _train(self, prompts: pd.DataFrame, group: Group, task: Task) -> tuple[pd.DataFrame, ...]:
        self.addresses[task.method] = task.tracker
        tracker = MlflowTracker(task.tracker)
        for step in self.steps:
            tracker.log({"reward/mean": step}, step)
        self.crash()
        return (pd.DataFrame({"step": self.steps}), pd.DataFrame({"step": []}))

    def _compare(self, curves: pd.DataFrame, task: Task) -> pd.DataFrame:
        MlflowTracker(task.tracker).log({"evaluation/reward": 1.0}, 0)
        return curves

    def catalog(self, version: str) -> DataCatalog:
        wishes = {
            "prompts": {"input": True},
            "color.dpok.curves": {"artifact": "curves"},
            "color.dpok.more": {},
            "color.comparison": {"artifact": "report"},
        }
        entries = {
            name: {
                "type": TABLE,
                "versioned": True,
                "filepath": f"{self.folder}/{name.replace('.', '/')}.csv",
                "save_args": {"index": False},
                "metadata": {"mlflow": wish},
            }
            for name, wish in wishes.items()
        }
        catalog = DataCatalog.from_config(entries, save_version=version)
        for name, value in self.parameters.items():
            catalog[f"params:{name}"] = value
        return catalog

    def run(
        self,
        version: str = FIRST,
        *,
        runner: Any = None,
        journal: str | None = None,
        others: tuple[Any, ...] = (),
        **options: Any,
    ) -> None:
        """What a session does, in its order; `journal` is the key of the command's journal."""
        manager = _create_hook_manager()
        for hooks in (self.hooks, TaskHooks(self.hooks), *others):
            manager.register(hooks)
        manager.hook.after_context_created(
            context=SimpleNamespace(config_loader={"mlflow": self.config})
        )
        if journal is not None:
            self.hooks.prepare(journal)
        catalog = self.catalog(version)
        run_params = {"pipeline_names": ["training", "evaluation"], "env": "smoke", **options}
        shared = {
            "run_params": run_params | {"run_id": version, "project_path": str(self.folder)},
            "pipeline": self.pipeline,
            "catalog": catalog,
        }
        manager.hook.before_pipeline_run(**shared)
        try:
            result = (runner or SequentialRunner()).run(self.pipeline, catalog, manager, version)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **shared)
            raise
        manager.hook.after_pipeline_run(run_result=result, **shared)

    def stop(self, error: type[BaseException] = KeyboardInterrupt, **options: Any) -> None:
        """Run until training raises an error. Its process ends with it, and that one's threads."""

        def crash() -> None:
            raise error("stopped here")

        self.crash = crash
        with pytest.raises(error, match="stopped here"):
            self.run(**options)
        self.hooks._system.stop()
        self.crash = lambda: None

    @property
    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        experiment = self.client.get_experiment_by_name(self.config["experiment_name"])
        order = ["attributes.start_time ASC"]
        return list(self.client.search_runs([experiment.experiment_id], order_by=order))

    def states(self) -> list[tuple[str, str]]:
        return [(run.info.run_name, run.info.status) for run in self.runs]

    def steps_of(self, run: Run) -> list[int]:
        history = self.client.get_metric_history(run.info.run_id, "reward/mean")
        return [point.step for point in history]
