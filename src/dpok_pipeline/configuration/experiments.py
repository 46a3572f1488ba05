"""The experiments: each is a set of training prompts with its own fine-tuned models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from kedro.config import MissingConfigException
from omegaconf.errors import InterpolationKeyError

from dpok_pipeline.configuration.names import reason_against
from dpok_pipeline.errors import InputError

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
    except InterpolationKeyError as error:
        raise InputError(_explain_interpolation(loader, error)) from None
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
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


def _explain_interpolation(loader: Any, error: InterpolationKeyError) -> str:
    """Say in one line why the list of experiments cannot be put together."""
    preset = (loader.runtime_params or {}).get("preset")
    file = Path(loader.conf_source, loader.env or loader.default_run_env, "experiments.yml")
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    presets = (content or {}).get("_of")
    if preset is None or presets is None:
        reason, *_ = str(error).splitlines()
        return f"{FILES}: {reason}; correct the file"
    return f"--params preset={preset}: no such preset; there are {', '.join(presets)}"
