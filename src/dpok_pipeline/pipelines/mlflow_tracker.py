"""The tracker of a node, which logs metrics into the node's own MLflow run while it trains."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from dpok_pipeline.pipelines.task import TrackerAddress

logger = logging.getLogger(__name__)

GRID_COLUMNS = 8


class MlflowTracker:
    """A tracker that logs metrics and sample images into an open MLflow run.

    The node makes it from the run's address and nothing else, so that it works in any thread or
    process. MLflow's active run, which belongs to one thread, is not used.

    Args:
        address: Address of the node's run; None drops everything that is logged.
    """

    def __init__(self, address: TrackerAddress | None) -> None:
        self._address = address
        self._has_warned = False
        # Last step that an interrupted command has logged, by the names of series.
        self._last_steps: dict[str, int] = {}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at a step, all in one write.

        Args:
            metrics: Numbers by their names, `family/name`.
            step: Number of the iteration or update.
        """
        if self._address is None:
            return
        with self._tolerate_failures(self._address):
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            entries = [
                Metric(key, float(value), now, step)
                for key, value in metrics.items()
                if self._is_new(self._address, key, step)
            ]
            client_of(self._address.uri).log_batch(self._address.run_id, metrics=entries)

    def log_images(self, key: str, images: Any, step: int) -> None:
        """Log images as one grid; MLflow shows the grids of a series with a step slider.

        Args:
            key: Name of the series.
            images: Tensor `(n, 3, h, w)` in [0, 1].
            step: Number of the iteration or update.
        """
        if self._address is None:
            return
        with self._tolerate_failures(self._address):
            if self._is_new(self._address, key, step, images=True):
                grid = _grid(np.asarray(images.detach().cpu()))
                client = client_of(self._address.uri)
                client.log_image(self._address.run_id, grid, key=key, step=step)

    @contextmanager
    def _tolerate_failures(self, address: TrackerAddress) -> Iterator[None]:
        """Let training go on without MLflow: the curves in the catalog have every number.

        A locked database raises MlflowException; a server that is being restarted can also raise
        OSError.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            if not self._has_warned:
                logger.warning(
                    "MLflow takes no metrics of %s (%s); the run goes on and tries again, and the "
                    "catalog has every number",
                    address.name or address.run_id,
                    str(error).partition("\n")[0],
                )
            self._has_warned = True

    def _is_new(
        self, address: TrackerAddress, key: str, step: int, *, images: bool = False
    ) -> bool:
        """Say whether a step comes after those that an interrupted command has logged."""
        if not address.continued:
            return True
        series = f"images/{key}" if images else key
        if series not in self._last_steps:
            steps = _image_steps(address, key) if images else _metric_steps(address, key)
            self._last_steps[series] = max(steps, default=-1)
        return step > self._last_steps[series]


def client_of(uri: str) -> Any:
    """Make a client of a store; MLflow keeps the connection behind it."""
    import mlflow

    return mlflow.MlflowClient(uri)


def _metric_steps(address: TrackerAddress, key: str) -> list[int]:
    history = client_of(address.uri).get_metric_history(address.run_id, key)
    return [int(point.step) for point in history]


def _image_steps(address: TrackerAddress, key: str) -> list[int]:
    """Read the steps in the names that MLflow gives to images, `KEY+step+STEP+…`."""
    files = client_of(address.uri).list_artifacts(address.run_id, "images")
    names = [file.path.rpartition("/")[2].split("+") for file in files]
    return [int(parts[2]) for parts in names if parts[0] == key.replace("/", "~")]


def _grid(images: np.ndarray) -> np.ndarray:
    """Lay images out in rows.

    Args:
        images: `(n, 3, h, w)` in [0, 1].

    Returns:
        One image `(rows h, columns w, 3)` in bytes; places without an image are white.
    """
    number, channels, height, width = images.shape
    columns = min(number, GRID_COLUMNS)
    rows = -(-number // columns)
    padded = np.ones((rows * columns, channels, height, width), dtype=np.float32)
    padded[:number] = images
    grid = padded.reshape(rows, columns, channels, height, width)
    # The pixels of one line of the grid must lie side by side: (rows, h, columns, w, 3).
    grid = grid.transpose(0, 3, 1, 4, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    return np.asarray((grid.clip(0, 1) * 255).round(), dtype=np.uint8)
