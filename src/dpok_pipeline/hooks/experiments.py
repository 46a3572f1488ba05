"""Builds the pipelines for the experiments of the chosen environment."""

from __future__ import annotations

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines

from dpok_pipeline.configuration.experiments import choose_experiments, configured_experiments


class ExperimentHooks:
    """Kedro makes the context before it builds a pipeline: the last moment to say which."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Choose the experiments; pipelines of another environment are built anew."""
        if choose_experiments(configured_experiments(context.config_loader)):
            pipelines.configure("dpok_pipeline.pipeline_registry")
