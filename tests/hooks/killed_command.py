"""A tracked command with a journal, which kills its own process at a chosen call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import torch
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from mlflow import MlflowClient
from safetensors.torch import save_file

from dpok_pipeline.diffusion.lora import WEIGHTS_NAME
from dpok_pipeline.hooks import journal, tracking
from dpok_pipeline.hooks.journal import NARROWING, JournalHooks
from dpok_pipeline.hooks.tracking import TrackingHooks
from dpok_pipeline.runs import identity
from dpok_pipeline.runs.journal import Journal
from dpok_pipeline.runs.runner import ContinuingRunner
from tests.hooks.tracked_project import Project, TaskHooks


def save_model(path: str, **_: Any) -> None:
    """Stand for MLflow's own function, which takes seconds to look at the installed packages."""
    Path(path).mkdir()
    Path(path, "MLmodel").write_text("flavors: {}")


#: Everything that a command writes into MLflow, and its journal.
WRITES: tuple[tuple[type, str], ...] = (
    (Journal, "write"),
    *(
        (MlflowClient, name)
        for name in (
            "create_run",
            "update_run",
            "set_tag",
            "log_batch",
            "log_inputs",
            "log_artifact",
            "create_logged_model",
            "log_model_artifacts",
            "finalize_logged_model",
            "log_outputs",
            "create_registered_model",
            "create_model_version",
            "set_logged_model_tags",
            "set_terminated",
        )
    ),
)


class BaseModel:
    """What a base model's dataset loads."""

    path = "/nowhere/base_model"
    content_hash = "0" * 64


class Command(Project):
    """Prompts, a training that saves a LoRA, and a comparison; with a journal.

    Args:
        folder: Folder of the project, with the database.
        strength: A number that the outputs depend on.
        resume: As the parameter `resume`.
    """

    def __init__(self, folder: Path, strength: int = 1, resume: str = "auto") -> None:
        super().__init__(folder, MlflowClient(f"sqlite:///{folder / 'mlflow.db'}"))
        self.config["experiment_name"] = "killed"
        self.resume = resume
        self.parameters["strength"] = strength
        prepare, _, compare = self.pipeline.nodes
        inputs = ["prompts", "base_model", "params:strength", "params:color.dpok.task"]
        outputs = ["color.dpok.lora", "color.dpok.curves"]
        train = Node(self._train_lora, inputs, outputs, name="color.dpok.train_lora")
        self.pipeline = Pipeline([prepare, train, compare])

    def _train_lora(self, prompts: Any, _: Any, strength: int, task: Any) -> tuple[Path, Any]:
        curves, _ = self._train(prompts, self.parameters["training"], task)
        folder = self.folder / "trained"
        folder.mkdir(exist_ok=True)
        save_file({"unet.lora_B.weight": torch.full((2, 2), strength)}, folder / WEIGHTS_NAME)
        return folder, curves

    def catalog(self, version: str) -> DataCatalog:
        catalog = super().catalog(version)
        entry = {
            "type": "dpok_pipeline.datasets.lora.LoRADataset",
            "versioned": True,
            "filepath": f"{self.folder}/lora",
            "metadata": {"mlflow": {"model": "diffusers"}},
        }
        more = DataCatalog.from_config({"color.dpok.lora": entry}, save_version=version)
        catalog["color.dpok.lora"] = more.get("color.dpok.lora")
        catalog["base_model"] = BaseModel()
        return catalog

    def start(self, version: str) -> None:
        """What a session does, in its order."""
        tracked = TrackingHooks()
        manager = _create_hook_manager()
        for hooks in (JournalHooks(tracked), tracked, TaskHooks(tracked)):
            manager.register(hooks)
        loader = Loader(
            mlflow=self.config, parameters={"resume": self.resume}, globals={"data": "."}
        )
        context = SimpleNamespace(config_loader=loader, project_path=self.folder)
        manager.hook.after_context_created(context=context)
        catalog, runner = self.catalog(version), ContinuingRunner()
        run_params = {"pipeline_names": [], "env": None, "only_missing_outputs": False}
        run_params |= {"runner": str(runner), "run_id": version, "project_path": str(self.folder)}
        shared = {
            "run_params": dict.fromkeys(NARROWING) | run_params,
            "pipeline": self.pipeline,
            "catalog": catalog,
        }
        manager.hook.before_pipeline_run(**shared)
        result = runner.run(self.pipeline, catalog, manager, version)
        manager.hook.after_pipeline_run(run_result=result, **shared)


class Loader(dict[str, Any]):
    """Stands for Kedro's configuration loader."""

    runtime_params = None


def run(folder: Path, version: str, kill_after: int = 0, **options: Any) -> None:
    """Run the command in this process, which may kill itself.

    Args:
        folder: Folder of the project.
        version: Version of a new run.
        kill_after: Number of the write, from 1, after which the process dies; 0 lets it live.
        options: Arguments of `Command`.
    """
    # Hashing all sources again and again is not what these tests are about.
    journal.hash_code = identity.hash_code = lambda: "code"
    mlflow.diffusers.save_model = save_model
    count = 0

    def counted(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            result = write(*arguments, **named)
            count += 1
            with (folder / "writes.txt").open("a") as file:
                print(name, file=file)
            if count == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for owner, name in WRITES:
        setattr(owner, name, counted(name, getattr(owner, name)))
    Command(folder, **options).start(version)


def kill_when_opening(folder: Path, version: str) -> None:
    """Run the command, and die just before MLflow is asked for its run."""
    tracking.open_run = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    run(folder, version)
