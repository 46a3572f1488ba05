"""Two processes never work in one folder, and no lock outlives what it was for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import claim
from tests.algorithms.support import run_dpok, run_killed
from tests.training.test_generation import shards
from tests.training.test_sft import run as run_sft

RUNS: dict[str, Callable[[DiffusionModel, Path], object]] = {
    "dpok": lambda model, folder: run_dpok(model, folder, iterations=1),
    "sft": run_sft,
    "generation": shards,
}


@pytest.mark.parametrize("run", RUNS)
def test_a_folder_that_another_command_works_in_is_refused_and_left_alone(
    tiny_model: DiffusionModel, tmp_path: Path, run: str
) -> None:
    partial = tmp_path / "rl" / "checkpoints" / "partial-00000007" / "state.json"
    partial.parent.mkdir(parents=True)
    partial.write_text("half writ")
    before = sorted(tmp_path.rglob("*"))
    with (
        FileLock(tmp_path / "rl.lock"),
        pytest.raises(InputError, match=r"/rl: in use by another command; wait"),
    ):
        RUNS[run](tiny_model, tmp_path / "rl")
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "rl.lock"]
    assert not lora_layers(tiny_model.unet)
    RUNS[run](tiny_model, tmp_path / "rl")
    assert not (tmp_path / "rl.lock").exists()


def test_what_fails_can_begin_again_in_the_same_process(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), claim(tmp_path / "rl"):
        raise OSError("the disk is full")
    assert not list(tmp_path.iterdir())
    with claim(tmp_path / "rl"):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.files.locks import claim

with claim(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_holds_none(tmp_path: Path) -> None:
    run_killed(KILLED, tmp_path / "rl")
    assert (tmp_path / "rl.lock").exists()
    with claim(tmp_path / "rl"):
        pass
    assert not (tmp_path / "rl.lock").exists()
