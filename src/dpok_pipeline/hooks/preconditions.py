"""Says before anything runs which parameter does not exist, and what has not been made yet."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from dpok_pipeline.datasets.models import NamedDataset
from dpok_pipeline.errors import InputError

RESUME = ("auto", "never")
# How a configuration file takes a value from `--params`: ${runtime_params:NAME, default}.
RUNTIME_PARAMETER = re.compile(r"\$\{runtime_params:\s*(\w+)")


class PreconditionHooks:
    """Checks what a run only reads: parameter groups, datasets, models."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse a misspelt group; the fields within are checked by their types."""
        loader = context.config_loader
        files = list(Path(loader.conf_source, loader.base_env).glob("parameters*.yml"))
        own = Path(loader.conf_source, loader.env or loader.default_run_env)
        for file in own.rglob("parameters*.yml"):
            _check_mapping(file)
        known = runtime_parameters(loader).union(
            *(yaml.safe_load(file.read_text()) for file in files)
        )
        # Presets begin with an underscore, which Kedro drops from every kind of file but this.
        given = {key: value for key, value in loader["parameters"].items() if key[0] != "_"}
        loader["parameters"] = given
        for name, value in given.items():
            if name not in known and value != {"experiment": name}:
                raise InputError(_unknown_parameter(name, known))
        resume = loader["parameters"].get("resume")
        if resume not in RESUME:
            raise InputError(
                f"conf/*/parameters*.yml or --params: resume is {resume!r}: give auto or never"
            )

    # Before kedro-mlflow's hook, which would leave behind a run that nothing ever ends.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Stop at missing inputs, with the pipeline that makes each, and at broken models."""
        inputs = sorted(name for name in pipeline.inputs() if not is_parameter(name))
        missing = [name for name in inputs if _is_missing(catalog, name)]
        if missing:
            env = run_params["env"]
            remedies = (_remedy(name, catalog.get(name), env) for name in missing)
            raise InputError("; ".join(remedies))
        for name in inputs:
            dataset = catalog.get(name)
            if isinstance(dataset, NamedDataset):
                dataset.check()


def _check_mapping(file: Path) -> None:
    """Refuse a parameter file that is not YAML, or something else than names and values."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML ({error}); correct the file") from None
    if not isinstance(content or {}, dict):
        raise InputError(f"{file}: expected names and values, such as `lora: {{rank: 4}}`")


def _is_missing(catalog: CatalogProtocol, name: str) -> bool:
    dataset = catalog.get(name)
    return not (getattr(dataset, "may_be_absent", False) or catalog.exists(name))


def runtime_parameters(loader: Any) -> set[str]:
    """What `--params` may give besides parameter groups: all that this environment's files take."""
    folders = [Path(loader.conf_source, env) for env in (loader.base_env, loader.env) if env]
    files = [file for folder in folders for file in folder.rglob("*.yml")]
    return {name for file in files for name in RUNTIME_PARAMETER.findall(file.read_text())}


def _unknown_parameter(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
    return f"conf/*/parameters*.yml or --params: {name}: no such parameter; {advice}"


def _remedy(name: str, dataset: Any, env: str | None) -> str:
    """Name the command that makes a dataset."""
    version = getattr(dataset, "_version", None)
    if version is not None and version.load is not None:
        return (
            f"--load-versions {name}:{version.load}: no such version; leave it out for the newest"
        )
    pipelines.set_requested(None)  # Kedro has imported only the pipelines of this run so far.
    makers = [key for key, made in pipelines.items() if name in made.outputs() | made.all_outputs()]
    makers = [key for key in makers if key != "__default__"]
    if not makers:
        return f"{name}: not in the catalog's folder; check its entry in conf/*/catalog*.yml"
    option = "" if env in (None, "local") else f" --env {env}"
    return (
        f"{name} has not been made yet: run {makers[0]} first, "
        f"`kedro run --pipelines {makers[0]}{option}`"
    )
