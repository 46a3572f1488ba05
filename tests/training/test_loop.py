"""The loop around any learner, and the one that fills shards, without a network."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import CheckpointConfig
from dpok_pipeline.training.loop import Plan, Stateful, Step, Watched, run_training
from dpok_pipeline.training.shards import fill_shards
from dpok_pipeline.training.signals import Stopped
from dpok_pipeline.training.tracking import Curves, to_numbers


class Counter:
    """Adds up its steps' numbers; logs every second one."""

    def __init__(self, skips: tuple[int, ...] = (), signals: tuple[int, ...] = ()) -> None:
        self.total, self.skips, self.signals = 0, skips, signals
        self.in_a_row = 0
        self.numbers: list[int] = []

    def step(self, number: int) -> Step:
        self.numbers.append(number)
        if number in self.signals:
            os.kill(os.getpid(), signal.SIGINT)
        self.in_a_row = self.in_a_row + 1 if number in self.skips else 0
        self.total += 0 if self.in_a_row else number
        return Step(
            images_seen=10 * (number + 1),
            metrics={"sum/total": float(self.total)} if number % 2 else None,
            skipped_in_a_row=self.in_a_row,
            why_skipped=f"of number {number}" if self.in_a_row else "",
        )

    def summary(self, curves: Curves) -> dict[str, Any]:
        return {"total": self.total}

    def parts(self) -> dict[str, Stateful | None]:
        return {"counter": self, "nothing": None}

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total = state["total"]


class Recorder:
    def __init__(self) -> None:
        self.logged: list[tuple[int, float]] = []

    def log(self, metrics: Any, step: int) -> None:
        self.logged.append((step, metrics["sum/total"]))
        assert metrics["images_seen"] == 10 * step

    def log_image(self, key: str, image: Tensor, step: int) -> None:
        raise AssertionError


def run(folder: Path, learner: Counter, steps: int = 6, **options: Any) -> tuple[Curves, Recorder]:
    config = CheckpointConfig(checkpoint_minutes=None, **options)
    store = CheckpointStore(folder / "checkpoints", {"seed": 0}, config)
    plan, tracker = Plan("counting", "step", steps, shown="sum/total", label="sum"), Recorder()
    curves = run_training(learner, plan, config=config, store=store, watched=Watched(tracker))
    return curves, tracker


def test_what_is_logged_and_saved(tmp_path: Path) -> None:
    learner = Counter()
    curves, tracker = run(tmp_path, learner)
    assert learner.numbers == list(range(6))
    assert tracker.logged == [(2, 1), (4, 6), (6, 15)]
    assert [row["images_seen"] for row in curves.rows] == [20, 40, 60]
    folders = (tmp_path / "checkpoints").iterdir()
    assert [folder.name for folder in folders] == ["step-00000006"]
    assert curves.column("sum/total") == [1, 6, 15]
    assert curves.column("perf/checkpoint_seconds") == [0, 0, 0]


def test_a_signal_is_obeyed_after_its_step_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, Counter(signals=(2,)))
    learner = Counter()
    curves, _ = run(tmp_path, learner)
    assert learner.numbers == [3, 4, 5]
    assert learner.total == 15
    assert [row["step"] for row in curves.rows] == [2, 4, 6]
    finished = Counter()
    run(tmp_path, finished)
    assert finished.numbers == []


def test_a_signal_during_the_last_checkpoint_still_ends_the_run(tmp_path: Path) -> None:
    class SavesSlowly(Counter):
        def state_dict(self) -> dict[str, Any]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().state_dict()

    with pytest.raises(Stopped):
        run(tmp_path, SavesSlowly())
    folders = (tmp_path / "checkpoints").iterdir()
    assert [folder.name for folder in folders] == ["step-00000006"]


def test_skipped_steps_are_not_saved(tmp_path: Path) -> None:
    learner = Counter(skips=(3, 4, 5))
    with pytest.raises(InputError, match="3 updates in a row .* because of number 5; the check"):
        run(tmp_path, learner, checkpoint_every=1, stop_after_skipped=3)
    folders = (tmp_path / "checkpoints").iterdir()
    assert sorted(folder.name for folder in folders)[-1] == "step-00000003"
    mended = Counter()
    run(tmp_path, mended, checkpoint_every=1)
    assert mended.total == 15


def test_numbers_of_scalars() -> None:
    assert to_numbers({}) == {}
    assert to_numbers({"a": torch.tensor(1.5), "b": torch.tensor(2)}) == {"a": 1.5, "b": 2.0}


ROWS = [range(2), range(2, 4), range(4, 5)]


def fill(folder: Path, made: list[int], signal_at: int | None = None, seed: int = 0) -> Path:
    def make(number: int, rows: range) -> pd.DataFrame:
        made.append(number)
        if number == signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return pd.DataFrame({"index": list(rows)})

    return fill_shards(
        folder, {"seed": seed}, ROWS, make, title="rows", metadata={"experiment": "color"}
    )


def test_shards_are_filled_once_and_a_signal_ends_after_one(tmp_path: Path) -> None:
    folder, made = tmp_path / "work", []
    with pytest.raises(Stopped):
        fill(folder, made, signal_at=1)
    assert made == [0, 1]
    with pytest.raises(InputError, match="not finished"):
        Shards(folder)
    assert fill(folder, made) == folder
    assert made == [0, 1, 2]
    shards = Shards(folder)
    assert shards.metadata == {"experiment": "color", "rows": 5}
    assert shards.frame()["index"].tolist() == list(range(5))
    fill(folder, made)
    assert made == [0, 1, 2]
    with pytest.raises(InputError, match="seed was 0 and is 1"):
        fill(folder, made, seed=1)
