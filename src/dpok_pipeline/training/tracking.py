"""What a run writes down and shows: metrics and progress while it runs, curves at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TextIO

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

    def images_seen(self) -> int:
        """Return the images that were seen by the last row."""
        return int(self.rows[-1]["images_seen"]) if self.rows else 0

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
        filmstrip: What was made of the same noises on the way, one row per picture: `step`,
            `images_seen`, `noise`, `prompt`, `image`; None for a run that was not to draw it.
    """

    lora_folder: Path
    curves: pd.DataFrame
    summary: dict[str, Any]
    filmstrip: pd.DataFrame | None = None


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
#: What a terminal shows while a step goes on, and once it has ended. 80 columns hold it.
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
ENDED = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}{postfix}"

# Seconds between two words of a worker to the command, which draws for it.
_WORD_SECONDS = 0.5
# Some terminals, such as those of containers, say that they have no columns.
_COLUMNS, _ROWS = 80, 24


class Reached(NamedTuple):
    """How far a long step is.

    Attributes:
        title: What goes on.
        total: Number of units in all.
        unit: What is counted.
        done: Units that are done.
        note: What else is worth seeing, such as the reward.
        ended: Whether the step has ended, be it well or not.
    """

    title: str
    total: int
    unit: str
    done: int
    note: str = ""
    ended: bool = False


_RELAY: list[Callable[[Reached], None]] = []


def relay_progress_to(relay: Callable[[Reached], None]) -> None:
    """Pass on how far steps of this process are, in place of showing it."""
    _RELAY[:] = [relay]


class Progress:
    """Shows how far a long step is: one live line on a terminal; a line a minute in a file."""

    def __init__(
        self, title: str, total: int, unit: str, done: int = 0, images: int | None = None
    ) -> None:
        """Begin.

        Args:
            title: What goes on.
            total: Number of units in all.
            unit: What is counted.
            done: Units that were done before.
            images: Images that were seen before; None where the units are images.
        """
        self._reached = Reached(title, total, unit, done)
        self._seen = done if images is None else images
        self._counts_images = images is None
        self._begun, self._told = time.monotonic(), float("-inf")
        self._bar = None if _RELAY else _draw(self._reached)
        self._show()

    def advance(self, count: int = 1, images: int = 0, shown: str = "") -> None:
        """Count units that are done.

        Args:
            count: Number of units.
            images: Images seen since the run began, where the units are others.
            shown: A result that is worth seeing.
        """
        done = self._reached.done + count
        seconds = max(time.monotonic() - self._begun, 1e-9)
        rate = ((done if self._counts_images else images) - self._seen) / seconds
        pace = f"{rate:.1f} images/s" if self._counts_images else f"{images} images, {rate:.1f}/s"
        note = ", ".join(filter(None, (pace, shown)))
        self.follow(self._reached._replace(done=done, note=note))

    def follow(self, reached: Reached) -> None:
        """Show what is known of a step, be it of this process or of another."""
        self._reached = reached._replace(title=self._reached.title)
        self._show()

    def close(self) -> None:
        """End, wherever the step has come to; what was shown last stays."""
        if self._reached.ended:
            return
        self._reached = self._reached._replace(ended=True)
        self._show()
        bar = self._bar
        if bar is None:
            return
        bar.close()
        if not bar.leave:  # it has cleared its line, and may stand between others
            bar.bar_format = ENDED
            write_line(str(bar))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self) -> None:
        reached, bar = self._reached, self._bar
        if bar is not None:
            bar.set_postfix_str(reached.note, refresh=False)
            bar.update(reached.done - bar.n)
            return
        now = time.monotonic()
        if reached.ended or now - self._told >= _WORD_SECONDS:
            self._told = now
            _RELAY[0](reached)


def _draw(reached: Reached) -> tqdm[Any]:
    """Draw how far a step is, as where messages go to allows it."""
    title, total, unit, done = reached[:4]
    options: dict[str, Any] = {"total": total, "desc": title, "unit": unit, "initial": done}
    if not on_terminal():
        options |= {"mininterval": LINE_SECONDS, "delay": LINE_SECONDS, "miniters": 1}
        return tqdm(file=_Lines(sys.stderr), bar_format=LINE, **options)
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        columns = 0
    options |= {"dynamic_ncols": True} if columns else {"ncols": _COLUMNS, "nrows": _ROWS}
    return tqdm(file=sys.stderr, bar_format=BAR, leave=False, **options)


def on_terminal() -> bool:
    """Say whether messages go to a terminal on which a line can be drawn over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def write_line(text: str) -> None:
    """Write a line to standard error, above live lines; it does not matter if nobody reads it."""
    with suppress(OSError):
        tqdm.write(text, file=sys.stderr)


class _Lines:
    """A stream in which what a terminal would draw over itself becomes lines of their own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> None:
        words = text.strip()
        reached = words.partition(",")[0]  # without times, which differ at every look
        if words and reached != self._last:  # a bar is drawn once more when it is closed
            self._last = reached
            with suppress(OSError):  # whoever reads may have stopped reading
                self._stream.write(f"{words}\n")

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _AboveBars:
    """A stream whose lines push the live ones down, in place of running into them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with tqdm.external_write_mode(file=self._stream):
            self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def lines_above_bars(*names: str) -> Iterator[None]:
    """Let what is logged to a terminal stand above the live lines.

    Args:
        names: Names of the loggers that have handlers; the root's are included.
    """
    streams = (sys.stdout, sys.stderr)
    found = [one for name in ("", *names) for one in logging.getLogger(name).handlers]
    handlers = [
        (one, one.stream)
        for one in found
        if isinstance(one, logging.StreamHandler) and one.stream in streams and on_terminal()
    ]
    for handler, stream in handlers:
        handler.setStream(_AboveBars(stream))
    try:
        yield
    finally:
        for handler, stream in handlers:
            handler.setStream(stream)
