"""Runs trials: one after the other in this process, or side by side in those of workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.pipelines.models import ComputeConfig, forget_models
from dpok_pipeline.sweeps.trial import Outcome, Trial, run_trial
from dpok_pipeline.workers.pool import WorkerPool
from dpok_pipeline.workers.runner import RESTARTS, TIMEOUT, choose_launcher
from dpok_pipeline.workers.schedule import Schedule

#: Is told of every trial that has ended, with its outcome.
Told = Callable[[Trial, Outcome], None]


class Runs(Protocol):
    """Where trials are run."""

    def run(self, trials: Sequence[Trial], told: Told) -> None:
        """Run trials.

        Args:
            trials: Trials that do not depend on one another.
            told: Called after each, in the order in which they end.

        Raises:
            Stopped: SIGINT or SIGTERM came; what was running has saved its state.
        """


class OneByOne:
    """Runs trials in this process."""

    def run(self, trials: Sequence[Trial], told: Told) -> None:
        """Run trials, see `Runs`."""
        for trial in trials:
            told(trial, run_trial(trial))


class SideBySide:
    """Runs trials in worker processes.

    Args:
        workers: Number of workers, which share out the cores that there are.
        address: Address of a Ray cluster; None for workers of this machine.
        compute: Where the networks run.
    """

    def __init__(self, workers: int, address: str | None, compute: ComputeConfig) -> None:
        # What this process has opened is of no use to the workers.
        forget_models()
        self._pool = WorkerPool(workers, choose_launcher(address, workers, None, compute), TIMEOUT)

    def run(self, trials: Sequence[Trial], told: Told) -> None:
        """Run trials, see `Runs`."""
        by_input = {f"trial_{number}": trial for number, trial in enumerate(trials, start=1)}
        nodes = [
            Node(run_trial, name, f"outcome_of_{name}", name=name, namespace=trial.experiment)
            for name, trial in by_input.items()
        ]
        Schedule(
            Pipeline(nodes),
            DataCatalog(),
            self._pool,
            _Handover(by_input, told),
            "nodes",
            RESTARTS,
        ).run()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()


class _Handover:
    """Gives nodes their trials, and passes on what comes of them."""

    def __init__(self, trials: Mapping[str, Trial], told: Told) -> None:
        self._trials, self._told = trials, told

    def begin(self, node: Node) -> dict[str, Any]:
        return {name: self._trials[name] for name in node.inputs}

    def finish(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        (trial,), (outcome,) = inputs.values(), outputs.values()
        self._told(trial, outcome)

    def fail(self, node: Node, inputs: dict[str, Any], error: BaseException) -> None:
        pass  # the schedule raises it
