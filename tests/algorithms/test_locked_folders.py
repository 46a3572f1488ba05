"""No two commands train or draw in one work folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from tests.algorithms.sft.test_generation import shards
from tests.algorithms.test_resume import train

RUNS: dict[str, Callable[[DiffusionModel, Path], object]] = {
    **{name: partial(train, name) for name in ALGORITHMS},
    "generation": shards,
}


@pytest.mark.parametrize("run", RUNS)
def test_a_folder_that_another_command_works_in_is_refused_and_left_alone(
    tiny_model: DiffusionModel, tmp_path: Path, run: str
) -> None:
    partial = tmp_path / "work" / "checkpoints" / "partial-00000007" / "state.json"
    partial.parent.mkdir(parents=True)
    partial.write_text("half writ")
    before = sorted(tmp_path.rglob("*"))
    with (
        FileLock(tmp_path / "work.lock"),
        pytest.raises(InputError, match=r"/work: in use by another command; wait"),
    ):
        RUNS[run](tiny_model, tmp_path / "work")
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "work.lock"]
    assert not lora_layers(tiny_model.unet)
    RUNS[run](tiny_model, tmp_path / "work")
    assert not (tmp_path / "work.lock").exists()
