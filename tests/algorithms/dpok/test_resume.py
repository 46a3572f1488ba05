"""Stopped anywhere and started again, training gives the bits of the uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.config import ValueConfig
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import lora_layers
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.rollouts.drawer import RolloutDrawer
from dpok_pipeline.training.signals import Stopped, stop_requests
from tests.algorithms.support import Brightness, lora_bytes, run_dpok
from tests.files.killed import run_killed


class Interrupted(KeyboardInterrupt):
    pass


class Scores(Brightness):
    """Scores so many batches, then raises."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        if self.left == 0:
            raise Interrupted
        self.left -= 1
        return super().score(images, prompts)


class Draws(Scores):
    """Draws from torch's global generator, as a careless reward may."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return super().score(images, prompts) + torch.rand(len(prompts))


def numbers(curves: pd.DataFrame) -> pd.DataFrame:
    return curves[[name for name in curves if not name.startswith("perf/")]]


@pytest.mark.parametrize(
    ("stop", "every", "recompute"), [(1, 1, False), (3, 1, True), (3, 2, False)]
)
def test_interrupted_dpok(
    tiny_model: DiffusionModel, tmp_path: Path, stop: int, every: int, recompute: bool
) -> None:
    options: dict[str, Any] = {
        "iterations": 4,
        "checkpoint_every": every,
        "recompute_log_probs": recompute,
    }
    torch.manual_seed(7)
    whole = run_dpok(tiny_model, tmp_path / "whole", reward=Draws(99), **options)
    torch.manual_seed(7)
    with pytest.raises(Interrupted):
        run_dpok(tiny_model, tmp_path / "parts", reward=Draws(stop), **options)
    torch.manual_seed(8)
    parts = run_dpok(tiny_model, tmp_path / "parts", reward=Draws(99), **options)
    assert lora_bytes(parts) == lora_bytes(whole)
    pd.testing.assert_frame_equal(numbers(parts.curves), numbers(whole.curves), check_exact=True)


def test_interrupted_inside_an_update(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_dpok(tiny_model, tmp_path / "whole")
    original = RolloutDrawer.report

    def interrupted(drawer: RolloutDrawer, rollout: Any, iteration: int, *arguments: Any) -> Any:
        if iteration == 1:  # the second iteration's updates are done, but not saved
            raise Interrupted
        return original(drawer, rollout, iteration, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RolloutDrawer, "report", interrupted)
        with pytest.raises(Interrupted):
            run_dpok(tiny_model, tmp_path / "parts")
    assert lora_bytes(run_dpok(tiny_model, tmp_path / "parts")) == lora_bytes(whole)


def test_a_longer_run_goes_on_from_a_shorter_one(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    whole = run_dpok(tiny_model, tmp_path / "whole", iterations=3)
    run_dpok(tiny_model, tmp_path / "parts", iterations=2)
    one_left = Scores(1)  # a second call would raise
    parts = run_dpok(tiny_model, tmp_path / "parts", reward=one_left, iterations=3)
    assert lora_bytes(parts) == lora_bytes(whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 5}, "rl_training.seed was 0 and is 5"),
        ({"value": ValueConfig(hidden_size=9)}, "rl_training.value.hidden_size was 8 and is 9"),
        ({"prompts": ["A cat."]}, "with 1 others"),
    ],
)
def test_other_inputs_are_refused_by_name(
    tiny_model: DiffusionModel, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    run_dpok(tiny_model, tmp_path, iterations=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="resume=never") as raised:
        run_dpok(tiny_model, tmp_path, iterations=2, **changes)
    assert said in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not lora_layers(tiny_model.unet)


def test_resume_never_starts_anew(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    run_dpok(tiny_model, tmp_path / "used", iterations=2)
    used = run_dpok(tiny_model, tmp_path / "used", iterations=2, seed=5, resume="never")
    clean = run_dpok(tiny_model, tmp_path / "clean", iterations=2, seed=5)
    assert lora_bytes(used) == lora_bytes(clean)


def test_how_often_and_what_is_watched_may_change(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    whole = run_dpok(tiny_model, tmp_path / "whole", iterations=2)
    run_dpok(tiny_model, tmp_path / "parts", iterations=1)
    others: dict[str, Any] = {
        "checkpoint_every": None,
        "checkpoint_minutes": 9.0,
        "checkpoints_kept": 1,
        "stop_after_skipped": 3,
        "alarm_deviations": 1.0,
    }
    parts = run_dpok(tiny_model, tmp_path / "parts", Scores(1), iterations=2, **others)
    assert lora_bytes(parts) == lora_bytes(whole)


def test_a_checkpoint_holds_everything(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    result = run_dpok(tiny_model, tmp_path, iterations=2, recompute_log_probs=True)
    state = json.loads((tmp_path / "checkpoints/step-00000002/state.json").read_text())
    assert set(state["recipe"]) == {
        "algorithm", "rl_training", "sampling", "lora", "base_model", "compute", "kernels",
        "reward_model", "prompts",
    }  # fmt: skip
    assert not {"iterations", "checkpoint_every", "alarm_deviations"} & set(
        state["recipe"]["rl_training"]
    )
    held = state["state"]
    learner = held["learner"]
    assert set(learner["optimiser"]) == {"parameters", "adamw", "scaler", "skipped"}
    assert set(learner["critic"]) == {"function", "optimiser"}
    assert learner["buffer"]["added"] == 2
    assert learner["rollouts"]["images_seen"] == 8
    assert set(learner["advantages"]) == {"count", "mean", "squares"}
    assert "old_policies" in learner
    assert set(held["random_states"]) == {"python", "numpy", "torch", "cuda", "mps"}
    assert [row["step"] for row in held["curves"]["rows"]] == [1, 2]
    assert result.summary["best_reward"] == result.curves["reward/mean"].max()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_iteration_is_saved(
    tiny_model: DiffusionModel, tmp_path: Path, number: signal.Signals
) -> None:
    class Signals(Scores):
        def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
            if self.left == 98:
                os.kill(os.getpid(), number)
            return super().score(images, prompts)

    before = signal.getsignal(number)
    options: dict[str, Any] = {"checkpoint_every": None}
    whole = run_dpok(tiny_model, tmp_path / "whole", **options)
    with pytest.raises(Stopped) as raised:
        run_dpok(tiny_model, tmp_path / "parts", Signals(99), **options)
    assert raised.value.signal_number == number
    saved = [folder.name for folder in (tmp_path / "parts" / "checkpoints").iterdir()]
    assert saved == ["step-00000002"]
    assert signal.getsignal(number) == before
    parts = run_dpok(tiny_model, tmp_path / "parts", Scores(1), **options)
    assert lora_bytes(parts) == lora_bytes(whole)


def test_a_second_signal_is_not_waited_for() -> None:
    # A shell starts its background jobs with SIGINT ignored, and they pass that on.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_requests("iteration") as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop
            with pytest.raises(KeyboardInterrupt) as raised:
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert not isinstance(raised.value, Stopped)


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from tests.algorithms.support import Brightness, run_dpok

class Kills(Brightness):
    calls = 0
    def score(self, images, prompts):
        self.calls += 1
        if self.calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(images, prompts)

model = load_base_model(describe_base_model(sys.argv[1]))
run_dpok(model, Path(sys.argv[2]), reward=Kills())
"""


def test_killed_process(
    tiny_model: DiffusionModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    run_killed(KILLED, tiny_model_folder, tmp_path / "parts")
    whole = run_dpok(tiny_model, tmp_path / "whole")
    parts = run_dpok(tiny_model, tmp_path / "parts")
    assert (tmp_path / "parts" / "checkpoints" / "step-00000003").is_dir()
    assert lora_bytes(parts) == lora_bytes(whole)
