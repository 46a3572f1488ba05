"""Fast kernels are used only where they leave the importance ratio alone."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok import ratio_guard, update
from dpok_pipeline.algorithms.dpok.policy_term import clip_band
from dpok_pipeline.algorithms.dpok.ratio_guard import RatioGuard, check_options, rounded_share
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.config import NetworkOptions, Precision
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.optimiser import LoRAOptimiser
from tests.algorithms.support import (
    largest_difference,
    lora_bytes,
    lora_tensors,
    run_dpok,
)
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


class Rounded:
    """Stands in for the updater: its log-probabilities are what they are told to be.

    It is asked for the moved weights' in the trained number type, then in float32, and last for
    those of the weights before, in float32.
    """

    def __init__(self, trained: list[float], exact: list[float], before: list[float]) -> None:
        weights = torch.nn.Parameter(torch.ones(1))
        self.optimiser = SimpleNamespace(parameters=[weights])
        self.model = SimpleNamespace(
            in_float32=nullcontext, precision="bfloat16", options=NetworkOptions()
        )
        self.answers = [torch.tensor(values) for values in (trained, exact, before)]
        self.microbatch, self.band, self.latent_size = 4, BAND, 16384
        self.config = SimpleNamespace(log_prob="mean")

    def log_probs(self, buffer: object, numbers: Tensor) -> tuple[Tensor, bool]:
        self.microbatch = 1  # as if memory had run out
        return self.answers.pop(0)[: len(numbers)], False


class Stored:
    """Stands in for the buffer of one rollout, whose log-probabilities are all 0."""

    newest_slot = 0

    def slots(self, numbers: Tensor) -> Tensor:
        return torch.zeros_like(numbers)

    def rows(self, numbers: Tensor) -> SimpleNamespace:
        return SimpleNamespace(log_prob=torch.zeros(len(numbers)))


def test_a_row_is_lost_to_rounding_if_it_is_outside_the_band_in_the_trained_type_alone() -> None:
    updater = Rounded(
        trained=[2e-4, 5e-5, 3e-4, -2e-4],
        exact=[1.00001, 1.0, 1.0003, 0.9999],
        before=[1.0, 1.0, 1.0, 0.99999],
    )
    # Of the rows outside in the trained type, the third is outside in float32 as well.
    share = rounded_share(updater, Stored(), torch.arange(4), [torch.zeros(1)])  # type: ignore[arg-type]
    assert share == 0.5
    assert updater.optimiser.parameters[0].item() == 1.0
    assert updater.microbatch == 4


@pytest.mark.parametrize(
    ("lost", "outcome"), [(4, "taken"), (15, "warned"), (46, "refused"), (100, "refused")]
)
def test_how_many_lost_rows_are_too_many(
    lost: int, outcome: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratio_guard, "_ROWS", 100)
    trained = [1e-3] * lost + [0.0] * (100 - lost)
    updater = Rounded(trained, exact=[0.0] * 100, before=[0.0] * 100)
    guard = RatioGuard(updater, recomputed=True)  # type: ignore[arg-type]
    assert guard.moved_is_due
    expected = pytest.raises(InputError) if outcome == "refused" else nullcontext()
    with expected as raised:
        guard.look_at_moved(Stored(), torch.arange(100), [torch.zeros(1)])  # type: ignore[arg-type]
    assert ("rounding of bfloat16" in caplog.text) == (outcome == "warned")
    if raised is not None:
        assert f"puts {lost}% of the rows outside the clip's band of ±1.0e-04" in str(raised.value)
        assert "set it to float16 or float32" in str(raised.value)
    assert not guard.moved_is_due


@pytest.mark.parametrize(("precision", "looked"), [("bfloat16", 1), ("float32", 0)])
def test_training_looks_at_its_first_update(
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    looked: int,
) -> None:
    shares: list[float] = []

    def share(*arguments: Any) -> float:
        shares.append(rounded_share(*arguments))
        return 0.0

    monkeypatch.setattr(ratio_guard, "rounded_share", share)
    model = load_base_model(describe_base_model(tiny_model_folder), precision=precision)
    run_dpok(model, tmp_path, ratio_clip=0.5)
    assert len(shares) == looked
    assert shares == [0.0] * looked  # so wide a band takes any rounding


def updates_and_looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every update, and after which of them the guard measures what rounding has done."""
    events: list[str] = []
    real = update.PolicyUpdater.update

    def noted(self: Any, *arguments: Any) -> Any:
        events.append("update")
        return real(self, *arguments)

    def share(*_: object) -> float:
        events.append("look")
        return 0.0

    monkeypatch.setattr(update.PolicyUpdater, "update", noted)
    monkeypatch.setattr(ratio_guard, "rounded_share", share)
    return events


@pytest.mark.parametrize("recomputed", [True, False])
def test_an_iteration_whose_first_update_ran_out_of_memory_leaves_the_guard_to_the_next(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recomputed: bool
) -> None:
    """Its second update is not judged: the weights have moved twice since the rollout."""
    model = load_base_model(describe_base_model(tiny_model_folder), precision="bfloat16")
    small = SmallMemory(
        update.predict_noise,
        4,
        lambda model, rows, *rest: len(rows) if torch.is_grad_enabled() else 0,
    )
    monkeypatch.setattr(update, "predict_noise", small)
    events = updates_and_looks(monkeypatch)
    run_dpok(model, tmp_path, iterations=2, recompute_log_probs=recomputed)
    assert small.refused == [8]
    assert events == ["update", "update", "update", "look", "update"]


def test_an_update_that_was_skipped_is_not_judged_nor_the_next_but_the_next_iteration_is(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder), precision="bfloat16")
    real, left = LoRAOptimiser.put_gradient, [1]

    def overflowing(self: LoRAOptimiser, vector: Tensor) -> None:
        """As where the loss of float16 is scaled too much in the run's first update."""
        real(self, vector * torch.inf if left and left.pop() else vector)

    monkeypatch.setattr(LoRAOptimiser, "put_gradient", overflowing)
    events = updates_and_looks(monkeypatch)
    run_dpok(model, tmp_path, iterations=2)
    assert events == ["update", "update", "update", "look", "update"]


def test_the_guard_changes_no_number(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder), precision="bfloat16")
    watched = run_dpok(model, tmp_path / "watched", ratio_clip=0.5)
    monkeypatch.setattr(RatioGuard, "look_at_moved", lambda *_: None)
    unwatched = run_dpok(model, tmp_path / "unwatched", ratio_clip=0.5)
    assert lora_bytes(watched) == lora_bytes(unwatched)


def test_most_rows_clipped_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    guard = RatioGuard(Rounded([], [], []), recomputed=True)  # type: ignore[arg-type]
    guard.look_at_clipped(0.4)
    assert not caplog.records
    guard.look_at_clipped(0.6)
    guard.look_at_clipped(0.7)
    (record,) = caplog.records
    assert "60 % of an iteration's rows are outside the clip's band" in record.message


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
