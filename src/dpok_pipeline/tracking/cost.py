"""What tracking costs: the seconds that a command has spent on it, and their share of all."""

from __future__ import annotations

import time

from dpok_pipeline.pipelines.mlflow_store import MESSENGER, client_of
from dpok_pipeline.pipelines.task import TrackerAddress

#: Metrics of the command's run.
SECONDS, SHARE = "tracking/seconds", "tracking/share"


class TrackingCost:
    """Adds up a command's time in MLflow's calls, from the start of its session to its end.

    All of them go through the messenger, be they of hooks, of nodes or of worker processes, which
    hand what they log to the command's process; importing MLflow is among them, and so are the
    calls of the thread of system metrics, which no node waits for. So the share is an upper bound.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin to count."""
        self._started = time.perf_counter()
        self._before = MESSENGER.seconds

    def tell(self, run: TrackerAddress) -> None:
        """Log what has been counted, in the command's run."""
        seconds = MESSENGER.seconds - self._before
        share = seconds / max(time.perf_counter() - self._started, 1e-9)
        MESSENGER.tell(run.uri, "what tracking cost", lambda: _log(run, seconds, share))


def _log(run: TrackerAddress, seconds: float, share: float) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [Metric(SECONDS, seconds, now, 0), Metric(SHARE, share, now, 0)]
    client_of(run.uri).log_batch(run.run_id, metrics=entries)
