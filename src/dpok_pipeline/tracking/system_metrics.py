"""Logs the load of the machine while a command runs, as MLflow's system metrics."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from dpok_pipeline.pipelines.mlflow_store import MESSENGER, client_of
from dpok_pipeline.pipelines.task import TrackerAddress

logger = logging.getLogger(__name__)

# Each sample is one write of a dozen numbers, so that SQLite is rarely waited for.
SECONDS = 10.0
#: MLflow's own variable; `false` switches system metrics off.
SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
PREFIX = "system/"


class SystemMetrics:
    """Samples processor, memory, disk, network and GPU in a thread, into a command's run.

    MLflow's own monitor measures. It is not started: its thread would ask the store for the run at
    each sample, log every failure by itself, and go on writing into a database that was deleted.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, run: TrackerAddress) -> None:
        """Begin to sample; do nothing where psutil is missing or MLflow's variable says false."""
        self.stop()
        if os.environ.get(SWITCH, "true").lower() in ("false", "0"):
            return
        with MESSENGER.timed():
            monitor = _monitor(run)
        if monitor is None:
            return
        self._stop = threading.Event()
        arguments = (run, monitor, self._stop)
        self._thread = threading.Thread(target=_sample, args=arguments, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once it has told what it is telling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(SECONDS)
            self._thread = None


def _monitor(run: TrackerAddress) -> Any:
    """Make MLflow's monitor; None where psutil is missing."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        return SystemMetricsMonitor(run.run_id, SECONDS, tracking_uri=run.uri)
    except Exception as error:  # psutil is missing or cannot read this machine, or the GPU's driver
        logger.debug("no system metrics: %s", error)
        return None


def _sample(run: TrackerAddress, monitor: Any, stop: threading.Event) -> None:
    """Measure and tell until it is to stop. No failure of this thread ends anything else."""
    step = None
    while not stop.wait(monitor.sampling_interval):
        try:
            step = _next_step(run) if step is None else step + 1
            monitor.collect_metrics()
            metrics = monitor.aggregate_metrics()
            for part in monitor.monitors:
                part.clear_metrics()
            _tell(run, metrics, step)
        except Exception as error:
            logger.debug("no more system metrics: %s", error)
            return


def _next_step(run: TrackerAddress) -> int:
    """Return the first step; an interrupted command has logged those before."""
    if not run.continued:
        return 0
    metrics = client_of(run.uri).get_run(run.run_id).data._metric_objs
    steps = [int(one.step) for one in metrics if one.key.startswith(PREFIX)]
    return max(steps, default=-1) + 1


def _tell(run: TrackerAddress, metrics: dict[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [Metric(PREFIX + key, float(value), now, step) for key, value in metrics.items()]
    MESSENGER.tell(
        run.uri,
        "system metrics",
        lambda: client_of(run.uri).log_batch(run.run_id, metrics=entries),
        often=True,
    )
