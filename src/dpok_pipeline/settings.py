"""The project's settings for Kedro: the configuration loader and the hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.utils import find_kedro_project

from dpok_pipeline.configuration.loader import ProjectConfigLoader
from dpok_pipeline.hooks import HOOKS

__all__ = ["CONFIG_LOADER_ARGS", "CONFIG_LOADER_CLASS", "DISABLE_HOOKS_FOR_PLUGINS", "HOOKS"]

# An older environment may still have kedro-mlflow, which would read mlflow.yml as its own. What
# kedro-viz wants to know of a run it is told by `hooks/viz`, of any run and any runner.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-viz")


def project_path(relative: str = "") -> str:
    """Make a path inside the project absolute, whatever folder the command was started in."""
    root = find_kedro_project(Path.cwd()) or Path(__file__).resolve().parents[2]
    return (Path(root) / relative).as_posix()


def own_work_entry(name: str) -> Any:
    """Return a number or catalog entry that conf/custom/custom.yml describes."""
    from dpok_pipeline.configuration.own_work import own_work

    return own_work(name, Path(project_path()))


CONFIG_LOADER_CLASS = ProjectConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {
        "mlflow": ["mlflow*", "mlflow*/**"],
        "expected_seconds": ["expected_seconds*"],
        "experiments": ["experiments.yml"],
        "methods": ["methods.yml"],
        "custom": ["custom.yml"],
    },
    # A soft merge: an environment that changes one number keeps the others of its group.
    "merge_strategy": {
        "parameters": "soft",
        "mlflow": "soft",
        "globals": "soft",
        "methods": "soft",
    },
    "custom_resolvers": {
        "project_path": project_path,
        "own_work": own_work_entry,
    },
}
