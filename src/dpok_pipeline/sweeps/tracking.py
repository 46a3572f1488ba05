"""A sweep's run in MLflow, and below it a run for each trial, with what it has cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from dpok_pipeline.configuration.tracking import TrackingConfig
from dpok_pipeline.hooks.mlflow_runs import experiment_id
from dpok_pipeline.pipelines.mlflow_store import MESSENGER, PARENT, client_of, connect
from dpok_pipeline.runs.params import write_value
from dpok_pipeline.sweeps.tried import Tried, command, describe, ranked

#: Tags by which a sweep that is given again finds its run, and those of its trials.
SWEEP, TRIAL = "sweep", "trial"


class SweepTracker:
    """Tells MLflow what a sweep tries. Runs of a sweep that goes on are opened again.

    Args:
        config: Store and MLflow experiment.
        name: Name of the sweep's run.
        key: What tells the sweep from all others.
        method: Name of the method.
        env: The environment in use; None is the default.
        parameters: What the sweep was asked for, by name.
    """

    def __init__(
        self,
        config: TrackingConfig,
        name: str,
        key: str,
        method: str,
        env: str | None,
        parameters: dict[str, str],
    ) -> None:
        self._uri, self._method, self._env = config.tracking_uri, method, env
        client = connect(config.tracking_uri)
        self._experiment = experiment_id(client, config)
        self._run_id = self._open(name, {SWEEP: key, "method": method}, f"tags.{SWEEP} = '{key}'")
        for parameter, value in parameters.items():
            client.log_param(self._run_id, parameter, value)
        self._noted: set[str] = set()

    def note(self, tried: Sequence[Tried]) -> None:
        """Note what has been tried since it was last noted, and what is best by now."""
        MESSENGER.tell(self._uri, "trials of the sweep", lambda: self._note(tried))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the sweep's run, by MLflow's word for how it has ended, and say what MLflow lacks."""
        stopped = "FAILED" if isinstance(error, Exception) else "KILLED"
        status = "FINISHED" if error is None else stopped
        MESSENGER.tell(
            self._uri,
            "the end of the sweep",
            lambda: client_of(self._uri).set_terminated(self._run_id, status),
        )
        MESSENGER.conclude()

    def _note(self, tried: Sequence[Tried]) -> None:
        for one in tried:
            for (experiment, seed), outcome in one.outcomes.items():
                self._note_trial(one, experiment, seed, outcome)
        best = ranked(tried)[0]
        metrics = {f"best/{name}": score for name, score in best.scores.items()}
        metrics["cost/seconds"] = sum(one.seconds for one in tried)
        self._log(self._run_id, metrics, step=len(tried))
        if best.diverged:
            return
        client_of(self._uri).set_tag(
            self._run_id, "best", command(self._method, best.candidate.setting, self._env)
        )

    def _note_trial(self, one: Tried, experiment: str, seed: int, outcome: Any) -> None:
        key = f"{one.number}, {experiment}, seed {seed}"
        if key in self._noted:
            return
        tags = {PARENT: self._run_id, TRIAL: key, "experiment": experiment, "method": self._method}
        found = f"tags.`{PARENT}` = '{self._run_id}' and tags.{TRIAL} = '{key}'"
        client = client_of(self._uri)
        ended = "attributes.status != 'RUNNING'"
        runs = client.search_runs([self._experiment], f"{found} and {ended}")
        if runs:  # by an earlier command
            self._noted.add(key)
            return
        name = f"{experiment}, {describe(one.candidate.setting)}, seed {seed}"
        run_id = self._open(name, tags, found)
        values = {"training_seed": seed, **one.candidate.setting}
        for parameter, value in values.items():
            client.log_param(run_id, parameter, write_value(value))
        base = one.base[experiment].scores
        gains = {f"gain/{metric}": score - base[metric] for metric, score in outcome.scores.items()}
        costs = {"cost/seconds": outcome.seconds, "cost/images": outcome.images}
        self._log(run_id, {**outcome.scores, **gains, **costs}, step=0)
        for step, reward in enumerate(outcome.curve, start=1):
            if reward is not None:
                self._log(run_id, {"reward/mean": reward}, step)
        if outcome.diverged:
            client.set_tag(run_id, "diverged", outcome.diverged)
        client.set_terminated(run_id, "FAILED" if outcome.diverged else "FINISHED")
        self._noted.add(key)  # Last: what fails half-way is tried again.

    def _open(self, name: str, tags: dict[str, str], found: str) -> str:
        """Open the run that a condition finds, or a new one."""
        client = client_of(self._uri)
        runs = client.search_runs([self._experiment], found)
        if runs:
            client.update_run(runs[0].info.run_id, status="RUNNING")
            return str(runs[0].info.run_id)
        return str(client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)

    def _log(self, run_id: str, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value in metrics.items()]
        client_of(self._uri).log_batch(run_id, metrics=entries)
