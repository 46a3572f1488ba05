"""Says before anything runs what has not been made yet, and which command makes it."""

from __future__ import annotations

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from dpok_pipeline.errors import InputError


class PreconditionHooks:
    """Checks that every dataset which a run only reads is there."""

    # Before kedro-mlflow's hook, which would leave behind a run that nothing ever ends.
    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Stop with the names of missing inputs and the pipeline that makes each."""
        missing = sorted(
            name
            for name in pipeline.inputs()
            if not is_parameter(name) and not catalog.exists(name)
        )
        if missing:
            raise InputError("; ".join(_remedy(name, run_params["env"]) for name in missing))


def _remedy(name: str, env: str | None) -> str:
    """Name the command that makes a dataset."""
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
