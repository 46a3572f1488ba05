"""Refuses a run, before any node, whose parameters do not exist or whose inputs are not made."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.known_names import check_catalog, check_expected_seconds
from dpok_pipeline.configuration.validation import PARAMETERS, advise
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.checks import (
    check_methods,
    check_raters_files,
    check_sample_number,
    check_seeds,
    present_prompts,
)
from dpok_pipeline.pipelines.graph import OVER_SEEDS
from dpok_pipeline.pipelines.opening import open_models
from dpok_pipeline.pipelines.origins import check_origins
from dpok_pipeline.runs.work import WorkFolders

RESUME = ("auto", "never")
#: Groups of parameters that the loader derives from other files.
DERIVED = ("methods", "all")


class PreconditionHooks:
    """Hooks that check everything that a run only reads: parameter groups, datasets, models."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse a misspelt group; the fields in it are checked by their types."""
        loader = context.config_loader
        files = loader.files
        parameters, given = loader["parameters"], set(loader.runtime_params or {})
        known = files.base_keys["parameters"] | {*DERIVED}
        typed_only = files.references("runtime_params") - known
        known |= typed_only & given
        for name in parameters:
            if name in typed_only - given:
                raise InputError(
                    f"{PARAMETERS}: {name} is read from the command line alone; remove it here and "
                    f"give `--params {name}={parameters[name]}`"
                )
            if name not in known and name not in selection.current().experiments:
                raise InputError(_unknown_parameter(name, known))
        resume = parameters.get("resume")
        if resume not in RESUME:
            raise InputError(f"{PARAMETERS}: resume is {resume!r}: give auto or never")
        WorkFolders.of(context)  # This refuses a data folder that cannot be one.
        with suppress(MissingConfigException):
            # An environment that drops a kind of method has no nodes of that kind.
            functions = {node.func.__name__ for node in _all_nodes()}
            known = functions | files.base_keys["expected_seconds"]
            check_expected_seconds(loader["expected_seconds"], known)

    @hook_impl
    def after_catalog_created(self, conf_catalog: dict[str, Any]) -> None:
        """Refuse a misspelt entry; the fields in it are checked by their datasets."""
        datasets = {name for node in _all_nodes() for name in (*node.inputs, *node.outputs)}
        check_catalog(conf_catalog, datasets | set(OVER_SEEDS))

    # Preconditions come before the journal looks for an interrupted run, and before MLflow.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Refuse missing inputs, naming the pipeline that makes each, and broken models."""
        inputs = sorted(name for name in pipeline.inputs() if not is_parameter(name))
        missing = [name for name in inputs if _is_missing(catalog, name)]
        if missing:
            remedies = (_remedy(name, catalog.get(name)) for name in missing)
            raise InputError("; ".join(remedies))
        absent = [name for name in pipeline.inputs() if is_parameter(name) and name not in catalog]
        if absent:
            group = min(absent).removeprefix("params:")
            raise InputError(f"{PARAMETERS}: {group} is missing: set it")
        check_raters_files(pipeline, catalog)
        prompts = present_prompts(pipeline, catalog)
        check_seeds(
            pipeline, catalog, (run_params.get("runtime_params") or {}).get("training_seed")
        )
        check_methods(pipeline, catalog, prompts)
        check_sample_number(pipeline, catalog, prompts)
        only_missing = bool(run_params.get("only_missing_outputs"))
        check_origins(pipeline, catalog, prompts, only_missing=only_missing)
        open_models(pipeline, catalog, prompts)


def _all_nodes() -> set[Node]:
    """Return the nodes of all pipelines; Kedro may have been asked for some of them only."""
    pipelines.set_requested(None)
    return {node for pipeline in pipelines.values() for node in pipeline.nodes}


def _is_missing(catalog: CatalogProtocol, name: str) -> bool:
    dataset = catalog.get(name)
    return not (getattr(dataset, "may_be_absent", False) or catalog.exists(name))


def _unknown_parameter(name: str, known: Iterable[str]) -> str:
    return f"{PARAMETERS}: {name}: no such parameter; {advise(name, known)}"


def _remedy(name: str, dataset: Any) -> str:
    """Name the command that makes a dataset."""
    version = getattr(dataset, "_version", None)
    if version is not None and version.load is not None:
        return (
            f"--load-versions {name}:{version.load}: no such version; leave it out for the newest"
        )
    pipelines.set_requested(None)  # Kedro has imported only the pipelines of this run so far.
    makers = [
        key
        for key, pipeline in pipelines.items()
        if key != "__default__" and name in pipeline.all_outputs()
    ]
    if not makers:
        return f"{name}: not in the catalog's folder; check its entry in conf/*/catalog*.yml"
    return (
        f"{name} has not been made yet: run {makers[0]} first, "
        f"`kedro run --pipelines {makers[0]}{selection.current().env_option}`"
    )
