"""The experiments: each a set of training prompts with its own fine-tuned models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from kedro.config import MissingConfigException
from kedro.pipeline import Node, Pipeline
from omegaconf.errors import InterpolationKeyError

from dpok_pipeline.errors import InputError

# The paper's four questions. Kedro builds its graph before it reads any data, so they are named
# here; the prompts of each are in the prompt sources of the catalog. An environment with other
# experiments names them in its experiments.yml.
EXPERIMENTS = ("color", "composition", "count", "location")
_chosen: tuple[str, ...] = EXPERIMENTS

# What all experiments have in common. Everything else in a template gets the experiment's name.
SHARED_INPUTS = ("prompts", "base_model", "reward_model", "scorers", "embedder")


def experiments() -> tuple[str, ...]:
    """Name the experiments of the environment in use."""
    return _chosen


def choose_experiments(names: Iterable[str]) -> bool:
    """Set the experiments that pipelines are built for from now on.

    Args:
        names: Those of an environment.

    Returns:
        Whether they are others than before, so that pipelines must be built anew.
    """
    global _chosen
    before, _chosen = _chosen, tuple(names)
    return _chosen != before


def configured_experiments(loader: Any) -> tuple[str, ...]:
    """Read the experiments of an environment.

    Args:
        loader: Kedro's configuration loader.

    Raises:
        InputError: They are not a list of names that a namespace can have, or they depend on a
            preset that does not exist.
    """
    try:
        names = loader["experiments"]["experiments"]
    except (KeyError, MissingConfigException):
        return EXPERIMENTS
    except InterpolationKeyError:
        raise InputError(_unknown_preset(loader)) from None
    known = isinstance(names, list) and names and all(_is_name(name) for name in names)
    if not known or len(set(names)) != len(names):
        raise InputError(
            f"conf/*/experiments.yml: experiments is {names!r}; list different names of small "
            "letters, digits and underscores, such as [color, count]"
        )
    return tuple(names)


def _unknown_preset(loader: Any) -> str:
    file = Path(loader.conf_source, loader.env, "experiments.yml")
    presets = ", ".join(yaml.safe_load(file.read_text())["_of"])
    return f"--params preset={loader.runtime_params['preset']}: no such preset; there are {presets}"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None


def for_each_experiment(
    template: Callable[[], Iterable[Node]], shared: set[str], handed_on: Iterable[str] = ()
) -> Pipeline:
    """Instantiate one template once per experiment, as a namespace each.

    Args:
        template: Makes the nodes, with names that carry no experiment.
        shared: The parameters (`params:…`) that all experiments read from the same place.
        handed_on: Outputs that a node outside the namespaces reads. They are called
            `color_NAME` and not `color.NAME`: Kedro keeps the dot for a namespace's own.

    Returns:
        The sum of the namespaced pipelines.
    """
    instances = (
        Pipeline(
            template(),
            namespace=experiment,
            inputs=_shared_inputs(template),
            outputs={name: f"{experiment}_{name}" for name in handed_on},
            parameters=shared,
        )
        for experiment in experiments()
    )
    return sum(instances, start=Pipeline([]))


def _shared_inputs(template: Callable[[], Iterable[Node]]) -> set[str]:
    return Pipeline(template()).inputs() & set(SHARED_INPUTS)
