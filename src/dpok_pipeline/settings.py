"""Kedro's project settings: how configuration is read, and the hooks that follow a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.utils import find_kedro_project

from dpok_pipeline.hooks import HOOKS

__all__ = ["CONFIG_LOADER_ARGS", "CONFIG_LOADER_CLASS", "HOOKS"]

# Read once, before MLflow writes the store of the first session there.
TRACKING_SERVER = os.environ.get("MLFLOW_TRACKING_URI")


def project_path(relative: str = "") -> str:
    """Make a path inside the project absolute, from whatever folder kedro was started in."""
    root = find_kedro_project(Path.cwd()) or Path(__file__).resolve().parents[2]
    return (Path(root) / relative).as_posix()


def tracking_uri(database: str) -> str:
    """Name the MLflow store: the server of the environment, else a database of the project."""
    return TRACKING_SERVER or f"sqlite:///{project_path(database)}"


def artifact_location(folder: str) -> str | None:
    """Name the folder of MLflow's artifacts; a server chooses its own."""
    return None if TRACKING_SERVER else f"file://{project_path(folder)}"


def own_entry(name: str) -> Any:
    """Give a number or catalog entry that conf/custom/custom.yml describes."""
    from dpok_pipeline.configuration.own_work import own_work

    return own_work(name, Path(project_path()))


CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {
        "mlflow": ["mlflow*", "mlflow*/**"],
        "expected_seconds": ["expected_seconds*"],
        "experiments": ["experiments.yml"],
    },
    # Soft: an environment that changes one number keeps the others of its group.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft", "globals": "soft"},
    "custom_resolvers": {
        "project_path": project_path,
        "tracking_uri": tracking_uri,
        "artifact_location": artifact_location,
        "own_work": own_entry,
    },
}
