"""What a run writes down: metrics while it runs, and its learning curves at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from tqdm import tqdm

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


class Tracker(Protocol):
    """Receives metrics and sample images; the one that reports to MLflow is in the Kedro part."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Report metrics named `family/name` at an iteration or update."""

    def log_image(self, key: str, image: Tensor, step: int) -> None:
        """Report an image, `(3, H, W)` in [0, 1]."""


class NullTracker:
    """Reports to nobody."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def log_image(self, key: str, image: Tensor, step: int) -> None:
        """Do nothing."""


class Curves:
    """Learning curves: one row per logged iteration or update.

    Attributes:
        rows: Each has `step`, `images_seen`, and metrics named `family/name`. The row of an
            iteration that was skipped has no rewards.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def add(self, step: int, images_seen: int, metrics: Mapping[str, float]) -> None:
        """Write down an iteration or update."""
        self.rows.append({"step": step, "images_seen": images_seen, **metrics})

    def column(self, name: str) -> list[float]:
        """Return a metric's values where it has any, in order."""
        return [row[name] for row in self.rows if name in row]

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rows = state["rows"]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        lora_folder: The folder that holds `pytorch_lora_weights.safetensors`, inside the work
            folder.
        curves: One row per logged iteration or update: `step`, `images_seen`, and metrics named
            `family/name`.
        summary: A few numbers of the whole run.
    """

    lora_folder: Path
    curves: pd.DataFrame
    summary: dict[str, Any]


def to_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Turn metrics that are device scalars into numbers, in one wait for the device."""
    import torch

    if not metrics:
        return {}
    values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


#: Seconds between two lines of progress where there is no terminal, and what they say.
LINE_SECONDS = 60.0
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} elapsed, about {remaining} left{postfix}"


class _Lines:
    """A stream in which what a terminal would draw over itself becomes lines of their own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> None:
        words = text.strip()
        reached = words.partition(",")[0]  # without times, which differ at every look
        if words and reached != self._last:  # a bar is drawn once more when it is closed
            self._stream.write(f"{words}\n")
            self._last = reached

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(title: str, total: int, unit: str, done: int = 0) -> tqdm[Any]:
    """Show how far a long step is: a bar on a terminal; a line a minute in a file.

    Args:
        title: What goes on.
        total: Number of units in all.
        unit: What is counted.
        done: Units that were done before.
    """
    options: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "initial": done}
    if not sys.stderr.isatty():
        seldom = {"mininterval": LINE_SECONDS, "delay": LINE_SECONDS, "miniters": 1}
        options |= {"file": _Lines(sys.stderr), "bar_format": LINE, **seldom}
    return tqdm(**options)
