"""The MLflow store that runs are tracked in, as conf/*/mlflow.yml names it."""

from __future__ import annotations

import os
from typing import Any

from kedro.config import AbstractConfigLoader, MissingConfigException
from pydantic import Field, ValidationError

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.configuration.validation import advise, explain_field
from dpok_pipeline.errors import InputError

FILES = "conf/*/mlflow.yml"
#: Environment variable that wins over the files.
SERVER = "MLFLOW_TRACKING_URI"


class TrackingConfig(FrozenConfig):
    """The MLflow store, and the name that a command's run has in it."""

    tracking_uri: str = Field(
        description="MLflow's tracking URI: a database such as sqlite:////folder/mlflow.db, or the "
        "address of a server."
    )
    experiment_name: str = Field(
        description="Name of the MLflow experiment that holds the runs; the first run creates it."
    )
    artifact_location: str | None = Field(
        None,
        description="Folder or address where a new MLflow experiment keeps its files; null leaves "
        "the choice to the store.",
    )
    run_name: str | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="Name of the command's run; null says what it runs, by environment, "
        "experiments and seed.",
    )


def read_tracking(loader: AbstractConfigLoader) -> TrackingConfig:
    """Read where an environment's runs are tracked.

    The environment variable MLFLOW_TRACKING_URI, where it is set, wins over every file. What it
    names, as a rule a server, also chooses where files are kept.

    Args:
        loader: The configuration loader of a Kedro context.

    Raises:
        InputError: There is no such file, a key is unknown or missing, or a value has the wrong
            type.
    """
    try:
        content: dict[str, Any] = dict(loader["mlflow"])
    except MissingConfigException as error:
        raise InputError(f"{FILES}: {error}") from None
    if server := os.environ.get(SERVER):
        content |= {"tracking_uri": server, "artifact_location": None}
    try:
        return TrackingConfig.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{FILES}: {'; '.join(map(_explain, error.errors()))}") from None


def _explain(error: Any) -> str:
    """Say in a phrase what is wrong with one key."""
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key; {advise(key, TrackingConfig.model_fields)}"
    return explain_field(key, error)
