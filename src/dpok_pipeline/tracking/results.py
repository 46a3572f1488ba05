"""Tells MLflow what a command has found: on its run, on the experiment's page, on its LoRAs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pandas as pd
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.configuration.tracking import TrackingConfig
from dpok_pipeline.evaluation.config import ComparisonConfig
from dpok_pipeline.evaluation.names import BASE
from dpok_pipeline.pipelines.mlflow_store import MESSENGER, NOTE, client_of
from dpok_pipeline.pipelines.task import TrackerAddress
from dpok_pipeline.tracking.evaluations import note_evaluation, read_evaluated
from dpok_pipeline.tracking.headline import (
    VIEW_TAG,
    experiment_note,
    experiment_title,
    headline_columns,
    headline_metrics,
    markdown_table,
    run_note,
    saved_view,
)
from dpok_pipeline.tracking.model_versions import model_name

COMPARISON, METHODS = "comparison", "params:comparison"


def tell_results(
    run: TrackerAddress, config: TrackingConfig, pipeline: Pipeline, catalog: CatalogProtocol
) -> None:
    """Tell what a command's comparisons say of its methods, if it has compared any."""
    outputs = pipeline.all_outputs()
    single = sorted(name for name in outputs if name.endswith(f".{COMPARISON}"))
    shown = [COMPARISON] if COMPARISON in outputs else single
    if not shown or METHODS not in catalog:
        return
    MESSENGER.tell(run.uri, "its headline", lambda: _tell_headline(run, config, shown, catalog))
    for name in single:
        experiment = name.removesuffix(f".{COMPARISON}")
        MESSENGER.tell(
            run.uri,
            f"what evaluation says of {experiment}",
            lambda experiment=experiment: _tell_versions(  # type: ignore[misc]
                run, config, experiment, catalog
            ),
        )


def _tell_headline(
    run: TrackerAddress, config: TrackingConfig, names: Iterable[str], catalog: CatalogProtocol
) -> None:
    """Log the paper's table on the command's run, and show it on the experiment's page."""
    from mlflow.entities import Metric, RunTag

    client, now = client_of(run.uri), int(time.time() * 1000)
    comparison = pd.concat([catalog.load(name) for name in names], ignore_index=True)
    methods = ComparisonConfig.model_validate(catalog.load(METHODS)).methods
    known, table = client.get_run(run.run_id), markdown_table(comparison, methods)
    tags = known.data.tags
    note = run_note(tags.get("command", "kedro run"), tags, table)
    metrics = headline_metrics(comparison, methods)
    # A command that was killed just here, and goes on, has some of them already.
    new = {key: value for key, value in metrics.items() if known.data.metrics.get(key) != value}
    entries = [Metric(key, value, now, 0) for key, value in new.items()]
    client.log_batch(run.run_id, metrics=entries, tags=[RunTag(NOTE, note)])
    experiment = client.get_experiment(known.info.experiment_id)
    view = saved_view(headline_columns(comparison, methods), now)
    client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, view)
    environment = tags.get("environment", "base")
    before = experiment.tags.get(NOTE, "")
    if not before or before.startswith(experiment_title(environment)):  # else it is the user's own
        client.set_experiment_tag(
            experiment.experiment_id, NOTE, experiment_note(environment, table)
        )


def _tell_versions(
    run: TrackerAddress, config: TrackingConfig, experiment: str, catalog: CatalogProtocol
) -> None:
    """Tell the registered LoRAs of an experiment what its comparison says of them."""
    client: Any = client_of(run.uri)
    comparison = catalog.load(f"{experiment}.{COMPARISON}")
    methods = ComparisonConfig.model_validate(catalog.load(METHODS)).methods
    for method in methods:
        if method.name != BASE.name:
            name = model_name(config.experiment_name, experiment, method.name)
            evaluated = read_evaluated(catalog, experiment, method.name, comparison)
            if evaluated is not None:
                note_evaluation(client, name, evaluated)
