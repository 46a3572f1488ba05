"""The tracker of a node, which logs metrics into the node's own MLflow run while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from dpok_pipeline.pipelines.mlflow_store import MESSENGER, client_of
from dpok_pipeline.pipelines.task import TrackerAddress

#: Takes what a node of a worker process logs: the address, the method's name, its arguments.
Relay = Callable[[TrackerAddress, str, tuple[Any, ...]], None]

_RELAY: list[Relay] = []


def relay_to(relay: Relay) -> None:
    """Pass on what is logged in this process, in place of telling it to MLflow."""
    _RELAY[:] = [relay]


class MlflowTracker:
    """A tracker that logs metrics and sample images into an open MLflow run.

    The node makes it from the run's address and nothing else, so that it works in any thread or
    process. MLflow's active run, which belongs to one thread, is not used.

    Args:
        address: Address of the node's run; None drops everything that is logged.
    """

    def __init__(self, address: TrackerAddress | None) -> None:
        self._address = address
        # Last step that an interrupted command has logged, by the names of series.
        self._last_steps: dict[str, int] = {}

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at a step, all in one write.

        Args:
            metrics: Numbers by their names, `family/name`.
            step: Number of the iteration or update.
        """
        if (address := self._address) is None:
            return
        if _RELAY:
            _RELAY[0](address, "log", (dict(metrics), step))
        else:
            what = f"metrics of {address.name or address.run_id}"
            send = partial(self._log, address, metrics, step)
            MESSENGER.tell(address.uri, what, send, often=True)

    def log_image(self, key: str, image: Any, step: int) -> None:
        """Log an image; MLflow shows those of a series with a step slider.

        Args:
            key: Name of the series.
            image: Tensor or array `(3, h, w)` in [0, 1].
            step: Number of the iteration or update.
        """
        if (address := self._address) is None:
            return
        if _RELAY:
            _RELAY[0](address, "log_image", (key, np.asarray(image.cpu()), step))
        else:
            what = f"sample images of {address.name or address.run_id}"
            send = partial(self._log_image, address, key, image, step)
            MESSENGER.tell(address.uri, what, send, often=True)

    def _log(self, address: TrackerAddress, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [
            Metric(key, float(value), now, step)
            for key, value in metrics.items()
            if self._is_new(address, key, step)
        ]
        client_of(address.uri).log_batch(address.run_id, metrics=entries)

    def _log_image(self, address: TrackerAddress, key: str, image: Any, step: int) -> None:
        if self._is_new(address, key, step, images=True):
            values = image.cpu() if hasattr(image, "cpu") else image
            pixels = (np.asarray(values) * 255).round().astype(np.uint8).transpose(1, 2, 0)
            client_of(address.uri).log_image(address.run_id, pixels, key=key, step=step)

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


def _metric_steps(address: TrackerAddress, key: str) -> list[int]:
    history = client_of(address.uri).get_metric_history(address.run_id, key)
    return [int(point.step) for point in history]


def _image_steps(address: TrackerAddress, key: str) -> list[int]:
    """Read the steps in the names that MLflow gives to images, `KEY+step+STEP+…`."""
    files = client_of(address.uri).list_artifacts(address.run_id, "images")
    names = [file.path.rpartition("/")[2].split("+") for file in files]
    return [int(parts[2]) for parts in names if parts[0] == key.replace("/", "~")]
