"""Whatever is in the catalogue gives, interrupted and started again, the bits of a whole run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import Tensor

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.training.tracking import NullTracker, Tracker, TrainingResult
from tests.algorithms.sft.test_train import samples
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, Brightness, lora_bytes
from tests.stressed import always_or_stressed

STEPS = 4
# Small, and large enough for every weight to move; an algorithm takes those that it has.
SMALL = {
    "iterations": STEPS,
    "updates": STEPS,
    "images_per_iteration": 4,
    "group_size": 2,
    "updates_per_iteration": 2,
    "transitions_per_update": 8,
    "rows_per_update": 6,
    "microbatch": 4,
    "learning_rate": 1e-2,
    "log_every": 1,
    "checkpoint_every": 1,
}


class Interrupted(Exception):
    pass


class Interrupts(NullTracker):
    """Raises once a step is done but not saved."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if step == self.step:
            raise Interrupted


def train(
    name: str,
    model: DiffusionModel,
    work_dir: Path,
    tracker: Tracker = NullTracker(),
    **changes: Any,
) -> TrainingResult:
    algorithm = ALGORITHMS[name]
    values = {key: value for key, value in SMALL.items() if key in algorithm.config.model_fields}
    data = (PROMPTS, Brightness()) if algorithm.online else (samples(),)
    return algorithm.trainer()(
        model,
        *data,
        lora=LORA,
        config=algorithm.config(**{**values, **changes}),
        work_dir=work_dir,
        tracker=tracker,
        sampling=SAMPLING,
        **({"measures": {"red": red}} if algorithm.online else {}),
    )


def red(images: Tensor, prompts: Any) -> Tensor:
    return images[:, 0].mean((1, 2))


@pytest.mark.parametrize(
    "step",
    [pytest.param(1, marks=pytest.mark.stress), 2, pytest.param(STEPS, marks=pytest.mark.stress)],
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_goes_on_bit_for_bit(
    tiny_model: DiffusionModel, tmp_path: Path, name: str, step: int
) -> None:
    whole = train(name, tiny_model, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(name, tiny_model, tmp_path / "parts", Interrupts(step))
    parts = train(name, tiny_model, tmp_path / "parts")
    assert lora_bytes(parts) == lora_bytes(whole)
    columns = [name for name in whole.curves if not name.startswith("perf/")]
    pd.testing.assert_frame_equal(parts.curves[columns], whole.curves[columns], check_exact=True)
    kept = [key for key in whole.summary if "seconds" not in key]
    assert {key: parts.summary[key] for key in kept} == {key: whole.summary[key] for key in kept}


@pytest.mark.parametrize("name", always_or_stressed(ALGORITHMS, ("dpok",)))
def test_every_algorithm_goes_on_from_each_of_its_checkpoints(
    tiny_model: DiffusionModel, tmp_path: Path, name: str
) -> None:
    """What a checkpoint holds is enough: no state is left in the process between two steps."""
    whole = train(name, tiny_model, tmp_path / "whole")
    length = "iterations" if ALGORITHMS[name].online else "updates"
    for steps in range(1, STEPS + 1):  # one process for each step
        parts = train(name, tiny_model, tmp_path / "parts", **{length: steps})
    assert lora_bytes(parts) == lora_bytes(whole)
