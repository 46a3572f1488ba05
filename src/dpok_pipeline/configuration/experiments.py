"""The experiments: each is a set of training prompts with its own fine-tuned models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException

from dpok_pipeline.configuration.names import reason_against
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.yaml_files import read_yaml

FILES = "conf/*/experiments.yml"


def read_experiments(loader: Any) -> tuple[str, ...]:
    """Read the names of an environment's experiments.

    Args:
        loader: Kedro's configuration loader, made for the environment.

    Raises:
        InputError: The file holds no list of different names, or it depends on a preset that does
            not exist.
    """
    try:
        names = loader["experiments"]["experiments"]
    except (KeyError, MissingConfigException):
        names = None
    except InputError as error:
        raise _without_preset(loader, error) from None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or not names or len(set(names)) != len(names):
        raise InputError(
            f"{FILES}: experiments is {names!r}; list different names of small letters, digits and "
            "underscores, such as [color, count]"
        )
    return tuple(names)


def check_experiments(names: Collection[object], taken: Collection[str]) -> None:
    """Refuse experiments that cannot be namespaces of pipelines and folders of the catalog.

    Args:
        names: Names of the experiments.
        taken: Names of groups of parameters, which no experiment can have.

    Raises:
        InputError: A name is taken, or is not made of small letters, digits and underscores.
    """
    for name in names:
        if reason := reason_against(name, taken):
            raise InputError(f"{FILES}: experiments has {name!r}: {reason}")


def _without_preset(loader: Any, error: InputError) -> InputError:
    """Say which presets there are, if the list of experiments depends on one that is not there."""
    preset = (loader.runtime_params or {}).get("preset")
    file = Path(loader.conf_source, loader.env or loader.default_run_env, "experiments.yml")
    presets = (read_yaml(file) or {}).get("_of") if file.is_file() else None
    if preset is None or not isinstance(presets, dict) or preset in presets:
        return error
    return InputError(f"--params preset={preset}: no such preset; there are {', '.join(presets)}")
