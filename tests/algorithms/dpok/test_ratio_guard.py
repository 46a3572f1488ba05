"""Fast kernels are used only where they leave the importance ratio alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dpok_pipeline.algorithms.dpok import update
from dpok_pipeline.algorithms.dpok.ratio_guard import check_options
from dpok_pipeline.algorithms.dpok.update import clip_band
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import NetworkOptions
from dpok_pipeline.errors import InputError
from tests.algorithms.support import largest_difference, lora_tensors, run_dpok
from tests.small_memory import SmallMemory

BAND = clip_band(1e-4, 16384, False, False)


def test_noise_below_a_tenth_of_the_clip_is_taken() -> None:
    check_options(NetworkOptions(compile=True), 0.9e-5, BAND, recomputed=False)
    check_options(NetworkOptions(), 1.0, BAND, recomputed=False)


def test_more_is_refused_with_the_options_and_the_remedies() -> None:
    both = NetworkOptions(compile=True, channels_last=True)
    with pytest.raises(InputError, match="compile and channels_last.*recompute_log_probs"):
        check_options(both, 2e-5, BAND, recomputed=False)
    with pytest.raises(InputError, match=r"to false$"):
        check_options(NetworkOptions(compile=True), 2e-5, BAND, recomputed=True)


def test_training_with_options_gives_the_plain_lora(
    tiny_model: DiffusionModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = NetworkOptions(channels_last=True, gradient_checkpointing=True)
    model = load_base_model(describe_base_model(tiny_model_folder), options=options)
    changes = {"iterations": 1, "updates_per_iteration": 1}
    found = run_dpok(model, tmp_path / "options", **changes)
    expected = run_dpok(tiny_model, tmp_path / "plain", **changes)
    assert found.curves["policy/fresh_log_ratio"].max() < 1e-6
    difference = largest_difference(lora_tensors(found), lora_tensors(expected))
    # One AdamW step of a learning rate of 1e-2: a sign of its gradient would differ by 2e-2.
    assert difference < 1e-3


@pytest.mark.parametrize("disagreement", [0.0, 0.02])
def test_an_iteration_that_runs_out_of_memory_is_not_judged_but_the_next_one_is(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disagreement: float
) -> None:
    """There is room for 8 rows, but for 4 with gradients; rounding depends on their number."""
    options = NetworkOptions(channels_last=True)
    model = load_base_model(describe_base_model(tiny_model_folder), options=options)
    real = update.predict_noise

    def rounded(*arguments: Any) -> torch.Tensor:
        by_shape = 0.02 if len(arguments[1]) == 8 else 0.0
        return real(*arguments) + by_shape + disagreement * torch.is_grad_enabled()

    small = SmallMemory(
        rounded, 4, lambda model, rows, *rest: len(rows) if torch.is_grad_enabled() else 0
    )
    monkeypatch.setattr(update, "predict_noise", small)
    run: dict[str, Any] = {"recompute_log_probs": True, "iterations": 2}
    if disagreement:
        with pytest.raises(InputError, match="channels_last the log ratio of unchanged weights"):
            run_dpok(model, tmp_path, **run)
    else:
        log_ratio = run_dpok(model, tmp_path, **run).curves["policy/fresh_log_ratio"]
        assert log_ratio[0] > 1e-4
        assert log_ratio[1] < 1e-6
    assert small.refused == [8]
    assert (tmp_path / "checkpoints" / "step-00000001").is_dir()


def test_a_run_whose_kernels_disagree_stops(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update's kernels are given another rounding than the rollout's."""
    options = NetworkOptions(channels_last=True)
    model = load_base_model(describe_base_model(tiny_model_folder), options=options)
    real = update.predict_noise

    def coarse(*arguments: object) -> torch.Tensor:
        return real(*arguments).bfloat16().float()  # type: ignore[arg-type]

    monkeypatch.setattr(update, "predict_noise", coarse)
    with pytest.raises(InputError, match="channels_last the log ratio of unchanged weights"):
        run_dpok(model, tmp_path)
