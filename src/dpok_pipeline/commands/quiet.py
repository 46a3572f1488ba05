"""Silences start-up notices of libraries; Kedro calls this before it loads its plugins.

Nothing here hides a warning about the user's own data or parameters.
"""

from __future__ import annotations

import os

# Libraries read these when they are imported. A value that the user has set stays.
NOTICES = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # Tables of a new database, migrations of an old one.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # A progress bar for every file.
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def silence_notices() -> None:
    """Silence start-up notices that users of this project can do nothing about."""
    for name, value in NOTICES.items():
        os.environ.setdefault(name, value)
