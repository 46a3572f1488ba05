"""Keeps third parties' notices out of a clean run; Kedro calls it before it loads its plugins.

Nothing here hides a warning about the user's own data or parameters.
"""

from __future__ import annotations

import importlib
import os
import warnings


def silence_notices() -> None:
    """Silence start-up notices of libraries that the project can do nothing about."""
    # Progress of database migrations, loading bars of single files.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    # Kedro loads this plugin next, and MLflow warns about a class in it. A filter would not do:
    # on the way, a library puts one of its own in front.
    with warnings.catch_warnings(record=True):
        importlib.import_module("kedro_mlflow.framework.hooks.mlflow_hook")
