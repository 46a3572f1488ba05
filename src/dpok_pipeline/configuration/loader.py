"""Kedro's configuration loader, which also knows what an environment compares.

Everything that reads this project's configuration does so through this class: commands, kedro-viz,
notebooks and tests. Whatever is derived from several files is therefore derived here, in one place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException
from pydantic import ValidationError

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration.conf_files import ConfFiles
from dpok_pipeline.configuration.experiments import check_experiments, read_experiments
from dpok_pipeline.configuration.known_names import check_types
from dpok_pipeline.configuration.methods import FILE, read_methods
from dpok_pipeline.configuration.selection import Selection, select
from dpok_pipeline.configuration.tracking import read_tracking
from dpok_pipeline.configuration.validation import PARAMETERS, explain_field
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ComparisonConfig
from dpok_pipeline.evaluation.names import BASE, MethodLabel

# OmegaConf keeps only the text of an error in a resolver.
IN_RESOLVER = re.compile(r"InputError raised while resolving interpolation: (.*)")
#: Beginning of the types of catalog entries that read from MLflow's registry.
REGISTERED = "dpok_pipeline.tracking.registered."
#: Beginning of Kedro's message when two files of one environment have the same key.
TWO_FILES = "Duplicate keys found in "


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader, which adds to the parameters what methods.yml and experiments.yml say.

    `methods` holds every method with all its settings, `comparison.methods` the label of each, and
    each namespace holds its `task`: `color.task`, `color.dpok.task`, `all.task`. From then on,
    pipelines are built for these experiments and methods.
    """

    @cached_property
    def files(self) -> ConfFiles:
        """What the files hold as they stand; making it refuses those that cannot be used."""
        environments = (self.base_env, self.env or self.default_run_env)
        return ConfFiles(Path(self.conf_source), environments, self.config_patterns)

    def __getitem__(self, key: str) -> Any:
        """Return the merged configuration of one kind of file.

        Raises:
            InputError: A file of the environment cannot be used, or a value points nowhere.
        """
        _ = self.files  # Kedro asks for a first kind as it makes the loader: all are checked then.
        if key == "parameters" and key not in self.data:
            # The experiments come first: they answer for a preset that does not exist.
            experiments = read_experiments(self)
            self[key] = self._with_methods(self._merged(key), experiments)
        merged = self._merged(key)
        if key == "catalog":
            check_types(merged)
            self._name_registry(merged)
        return merged

    def _name_registry(self, entries: Mapping[str, Any]) -> None:
        """Tell the entries that read from MLflow's registry in which store it is."""
        for entry in entries.values():
            if str(entry.get("type", "")).startswith(REGISTERED) and "tracking_uri" not in entry:
                entry["tracking_uri"] = read_tracking(self).tracking_uri

    def _merged(self, key: str) -> Any:
        """Let Kedro merge the files of one kind, and explain in one line why it cannot."""
        try:
            return super().__getitem__(key)
        except OmegaConfBaseException as error:
            where = f"conf/*/{self.config_patterns[key][0].removesuffix('.yml')}.yml"
            raise InputError(_explain(error, where)) from error
        except ValueError as error:
            if not str(error).startswith(TWO_FILES):
                raise
            reason = " ".join(str(error).split())
            raise InputError(f"{reason}; remove them from one of the files") from error

    def _with_methods(self, files: Mapping[str, Any], experiments: tuple[str, ...]) -> Any:
        # Presets begin with an underscore. Kedro drops such keys from every kind of file but this.
        parameters = {key: value for key, value in files.items() if not key.startswith("_")}
        _refuse_derived(parameters, self.runtime_params or {}, experiments)
        check_experiments(experiments, parameters.keys())
        methods, known = read_methods(self, parameters, experiments)
        parameters["methods"] = {method.name: method.model_dump() for method in methods}
        parameters["comparison"] = _with_labels(parameters.get("comparison"), methods, known)
        for experiment in experiments:
            parameters[experiment] = _tasks(experiment, methods)
        parameters["all"] = {"task": {"experiment": "all"}}
        select(Selection(experiments, methods, self.env))
        return parameters


def _explain(error: OmegaConfBaseException, where: str) -> str:
    """Say in one line why OmegaConf cannot merge files, or cannot put a value together."""
    if in_resolver := IN_RESOLVER.search(str(error)):
        return in_resolver[1]
    reason, *_ = str(error).splitlines()
    if isinstance(error, ConfigTypeError):
        reason = "one file has a list where another has names and values"
    field = f"{error.full_key}: " if error.full_key else ""
    return f"{where}: {field}{reason}; correct the file"


def _refuse_derived(
    parameters: Mapping[str, Any], runtime: Mapping[str, Any], experiments: Collection[str]
) -> None:
    """Refuse values that the loader makes itself: it would overwrite them without a word.

    Args:
        parameters: All groups of parameters, those of `--params` among them.
        runtime: Values of `--params` by the names of groups.
        experiments: Names of the experiments.
    """
    for name in ("all", *experiments):
        if name in runtime:
            raise InputError(f"--params: {name}: the group holds tasks only; leave it out")
    if "all" in parameters:
        raise InputError(f"{PARAMETERS}: all: the group holds tasks only; leave it out")
    if parameters.get("methods", {}) != runtime.get("methods", {}):
        raise InputError(f"conf/*/parameters*.yml: methods: move this group into {FILE}")


def _with_labels(group: Any, methods: Collection[Method], known: Collection[str]) -> dict[str, Any]:
    """Add what is compared to how it is compared, and refuse methods that no file knows."""
    if not isinstance(group, Mapping):
        raise InputError(f"{PARAMETERS}: comparison is {group!r}: expected contrasts and claims")
    if "methods" in group:
        raise InputError(f"{PARAMETERS}: comparison.methods: it follows from {FILE}; leave it out")
    labels = [
        MethodLabel(method.name, method.label, method.colour, method.description)
        for method in methods
    ]
    try:
        config = ComparisonConfig(**{**group, "methods": [BASE, *labels]})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, ("comparison", *first["loc"])))
        raise InputError(explain_field(f"{PARAMETERS}: {field}", first)) from None
    config.check(known)
    return config.model_dump()


def _tasks(experiment: str, methods: Collection[Method]) -> dict[str, Any]:
    """Begin the tasks of an experiment's nodes; a hook fills in the rest."""
    names = [BASE.name, *(method.name for method in methods)]
    of_methods = {name: {"task": {"experiment": experiment, "method": name}} for name in names}
    return {"task": {"experiment": experiment}, **of_methods}
