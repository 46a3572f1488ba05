"""The tracker a node logs its metrics to while it runs: a child of the command's MLflow run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from kedro.io import AbstractDataset, DatasetError

logger = logging.getLogger(__name__)

GRID_COLUMNS = 8
PARAMETER_LENGTH = 500


class MlflowTracker:
    """Logs into a child run, which is opened at the first entry.

    It goes through the client with explicit run ids: MLflow's active run belongs to kedro-mlflow
    and to one thread. Where nothing is tracked, entries are dropped.
    """

    def __init__(self, experiment: str, method: str) -> None:
        self.experiment = experiment
        self.method = method
        self._run_id: str | None = None
        self._continued = False
        self._has_warned = False
        # The last step of each series that an interrupted run has logged.
        self._last_steps: dict[str, int] = {}

    @property
    def run_id(self) -> str | None:
        """The child run, that of an interrupted run again; None where nothing is tracked."""
        import mlflow

        parent = mlflow.active_run()
        if self._run_id is None and parent is not None:
            self._run_id = self._reopen(parent.info)
        if self._run_id is None and parent is not None:
            tags = {
                "mlflow.parentRunId": parent.info.run_id,
                "experiment": self.experiment,
                "method": self.method,
            }
            child = mlflow.MlflowClient().create_run(
                parent.info.experiment_id,
                run_name=f"{self.experiment} {self.method}",
                tags=tags,
            )
            self._run_id = child.info.run_id
        return self._run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at a step, all in one write."""
        import mlflow
        from mlflow.entities import Metric

        with self._failures_forgiven():
            if self.run_id is not None:
                now = int(time.time() * 1000)
                new = {key: value for key, value in metrics.items() if self._is_new(key, step)}
                entries = [Metric(key, float(value), now, step) for key, value in new.items()]
                mlflow.MlflowClient().log_batch(self.run_id, metrics=entries)

    def log_images(self, key: str, images: Any, step: int) -> None:
        """Log images as one grid; MLflow shows a key's grids with a step slider.

        Args:
            key: Name of the series.
            images: `(n, 3, h, w)` in [0, 1].
            step: Where on the slider.
        """
        import mlflow

        with self._failures_forgiven():
            if self.run_id is not None and self._is_new(key, step, images=True):
                grid = _grid(np.asarray(images.detach().cpu()))
                mlflow.MlflowClient().log_image(self.run_id, grid, key=key, step=step)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log flat parameters, in one write."""
        import mlflow
        from mlflow.entities import Param

        if self.run_id is not None:
            client = mlflow.MlflowClient()
            logged = client.get_run(self.run_id).data.params
            new = {key: value for key, value in parameters.items() if key not in logged}
            entries = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in new.items()]
            client.log_batch(self.run_id, params=entries)

    def finish(self, status: str) -> None:
        """Close the child run, if one was opened.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
        """
        import mlflow

        if self._run_id is not None:
            mlflow.MlflowClient().set_terminated(self._run_id, status)

    @contextmanager
    def _failures_forgiven(self) -> Iterator[None]:
        """Let training go on without MLflow: the curves in the catalog have every number.

        A locked database raises MlflowException, a server that is restarted OSError, too.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            if not self._has_warned:
                reason = str(error).partition("\n")[0]
                logger.warning(
                    "MLflow takes no metrics of %s %s (%s); the run goes on and tries again, and "
                    "the catalog has every number",
                    self.experiment,
                    self.method,
                    reason,
                )
            self._has_warned = True

    def _reopen(self, parent: Any) -> str | None:
        """Find the child that an interrupted run has left; None if there is none."""
        import mlflow

        client = mlflow.MlflowClient()
        found = client.search_runs(
            [parent.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.run_id}' and "
            f"tags.experiment = '{self.experiment}' and tags.method = '{self.method}'",
        )
        if not found:
            return None
        self._continued = True
        client.update_run(found[0].info.run_id, status="RUNNING")
        return str(found[0].info.run_id)

    def _is_new(self, key: str, step: int, images: bool = False) -> bool:
        """Say whether a step is beyond what an interrupted run has logged."""
        if not self._continued:
            return True
        series = f"images/{key}" if images else key
        if series not in self._last_steps:
            steps = self._image_steps(key) if images else self._metric_steps(key)
            self._last_steps[series] = max(steps, default=-1)
        return step > self._last_steps[series]

    def _metric_steps(self, key: str) -> list[int]:
        import mlflow

        history = mlflow.MlflowClient().get_metric_history(self._run_id, key)
        return [int(point.step) for point in history]

    def _image_steps(self, key: str) -> list[int]:
        """Read the steps from the names that MLflow gives to images: `KEY+step+STEP+…`."""
        import mlflow

        files = mlflow.MlflowClient().list_artifacts(self._run_id, "images")
        names = [file.path.rpartition("/")[2].split("+") for file in files]
        return [int(parts[2]) for parts in names if parts[0] == key.replace("/", "~")]


class TrackerDataset(AbstractDataset[NoReturn, MlflowTracker]):
    """Hands a node its tracker, so that the engine needs to know nothing of MLflow."""

    def __init__(
        self, *, experiment: str, method: str, metadata: dict[str, Any] | None = None
    ) -> None:
        self._experiment = experiment
        self._method = method
        self.metadata = metadata

    def load(self) -> MlflowTracker:
        """Make a tracker; its run is opened when something is logged."""
        return MlflowTracker(self._experiment, self._method)

    def save(self, data: Any) -> NoReturn:
        """Refuse: nodes log through the tracker."""
        raise DatasetError("A tracker is read by a node, which logs through it.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"experiment": self._experiment, "method": self._method}


def _grid(images: np.ndarray) -> np.ndarray:
    """Lay images `(n, 3, h, w)` in [0, 1] out in rows: `(rows h, columns w, 3)` uint8."""
    number, channels, height, width = images.shape
    columns = min(number, GRID_COLUMNS)
    rows = -(-number // columns)
    padded = np.ones((rows * columns, channels, height, width), dtype=np.float32)
    padded[:number] = images
    grid = padded.reshape(rows, columns, channels, height, width)
    grid = grid.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    return np.asarray((grid.clip(0, 1) * 255).round(), dtype=np.uint8)
