"""The project that a command is started in: its configuration, and the environment in use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.project import settings
from kedro.utils import find_kedro_project

#: Environment variable that names the environment where the option --env does not.
KEDRO_ENV = "KEDRO_ENV"


def environment(env: str | None) -> str | None:
    """Return the environment in use, as Kedro's session chooses it; None is Kedro's default."""
    return env or os.environ.get(KEDRO_ENV) or None


def conf_source() -> Path:
    """Return the folder of the project's configuration."""
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    return Path(root) / str(settings.CONF_SOURCE)


def config_loader(
    env: str | None, conf: str | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """Make a loader of the project's configuration alone: without a session, no hook is called.

    Args:
        env: Value of the option --env.
        conf: Value of the option --conf-source; None is the project's own.
        params: Values of the option --params.
    """
    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(conf or conf_source()),
        env=environment(env),
        runtime_params=params,
        **settings.CONFIG_LOADER_ARGS,
    )
