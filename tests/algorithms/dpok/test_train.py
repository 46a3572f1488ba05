from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.algorithms.dpok.train import DPOKLearner, train_dpok
from dpok_pipeline.algorithms.dpok.update import PolicyUpdater
from dpok_pipeline.diffusion.base_model import (
    DiffusionModel,
    describe_base_model,
    load_base_model,
)
from dpok_pipeline.diffusion.denoising import predict_noise
from dpok_pipeline.diffusion.lora import (
    attach_lora,
    attached_lora,
    detach_lora,
    load_lora,
    lora_layers,
    lora_state,
)
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.prompt_encoder import PromptTable
from dpok_pipeline.diffusion.sampler import decode, sample
from dpok_pipeline.training.monitoring.filmstrip import NOISES
from dpok_pipeline.training.optimiser import LoRAOptimiser
from tests.algorithms.support import (
    LORA,
    PROMPTS,
    SAMPLING,
    Brightness,
    largest_difference,
    lora_bytes,
    lora_tensors,
    run_dpok,
    small_config,
)
from tests.small_memory import SmallMemory


def test_two_runs_give_the_same_bytes(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    one, two = (run_dpok(tiny_model, tmp_path / name) for name in ("one", "two"))
    assert lora_bytes(one) == lora_bytes(two)
    other = run_dpok(tiny_model, tmp_path / "three", seed=1)
    assert lora_bytes(other) != lora_bytes(one)
    assert not lora_layers(tiny_model.unet)  # the model is left as it came


def test_without_a_number_of_rows_an_iteration_uses_each_once(tiny_model: DiffusionModel) -> None:
    config = small_config(
        transitions_per_update=None, rows="epochs", last_steps_left_out=1, baseline="none"
    )
    with attached_lora(tiny_model.unet, LORA, seed=0):
        learner = DPOKLearner(
            tiny_model, PROMPTS, Brightness(), sampling=SAMPLING, config=config, measures={}
        )
        for number in range(3):  # while the buffer of two rollouts fills, and when it is full
            learner.step(number)
            held = min(number + 1, 2) * config.images_per_iteration * (SAMPLING.ddim_steps - 1)
            draws = learner.draw_rows(number)
            assert [len(rows) for rows in draws] == [held // 2] * 2
            assert len(set(torch.cat(draws).tolist())) == held


def test_what_a_run_reports(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    logged: list[tuple[int, set[str]]] = []
    grids = []

    class Recorder:
        def log(self, metrics: Any, step: int) -> None:
            logged.append((step, set(metrics)))

        def log_image(self, key: str, image: Tensor, step: int) -> None:
            grids.append((key, tuple(image.shape), step))

    result = train_dpok(
        tiny_model,
        PROMPTS,
        Brightness(),
        sampling=SAMPLING,
        lora=LORA,
        config=small_config(),
        work_dir=tmp_path,
        tracker=Recorder(),
    )
    curves = result.curves
    assert curves["step"].tolist() == [1, 2, 3]
    assert curves["images_seen"].tolist() == [4, 8, 12]
    assert {name.split("/")[0] for name in curves if "/" in name} == {
        "reward",
        "policy",
        "kl",
        "value",
        "grad",
        "gradient_share",
        "perf",
    }
    assert [step for step, _ in logged] == [1, 2, 3]
    assert logged[0][1] == {"images_seen", *(name for name in curves if "/" in name)}
    assert grids == [("filmstrip", (3, 32, NOISES * 32), step) for step in range(4)]
    assert (curves["reward/low"] < curves["reward/mean"]).all()
    assert (curves["perf/share_of_machine"] > 0).all()
    assert result.summary["images"] == 12
    assert curves.notna().all(axis=None)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_importance_ratio_is_one_on_unchanged_weights(
    tiny_model_folder: Path, tmp_path: Path, precision: Any, reading: str
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder), precision=precision)
    # The later iterations' rollouts come from a LoRA that has moved.
    result = run_dpok(model, tmp_path, log_prob=reading, microbatch=3, rollout_batch=4)
    latent_size = 256 if reading == "sum" else 1
    assert result.curves["policy/fresh_log_ratio"].max() < 1e-6 * latent_size
    assert result.curves["policy/approx_kl"].max() > 0


class Noisy:
    """Adds to the predicted noise what depends on the batch's shape, as half precision does."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def __call__(self, model: Any, latents: Tensor, *rest: Any) -> Tensor:
        noise: Tensor = self.original(model, latents, *rest)
        random = torch.Generator().manual_seed(len(latents))
        return noise + 0.02 * torch.randn(latents.shape[1:], generator=random)


def test_old_log_probs_on_the_updates_path(
    tiny_model: DiffusionModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    noisy = Noisy(predict_noise)
    monkeypatch.setattr("dpok_pipeline.diffusion.sampler.predict_noise", noisy)
    monkeypatch.setattr("dpok_pipeline.algorithms.dpok.update.predict_noise", noisy)
    with caplog.at_level(logging.WARNING):
        stored = run_dpok(tiny_model, tmp_path / "stored").curves
    assert stored["policy/fresh_log_ratio"].min() > 1e-4
    assert caplog.text.count("set recompute_log_probs") == 1
    caplog.clear()
    recomputed = run_dpok(tiny_model, tmp_path / "again", recompute_log_probs=True).curves
    assert recomputed["policy/fresh_log_ratio"].max() < 1e-6
    assert recomputed["policy/log_prob_noise"].min() > 1e-4
    assert "set recompute_log_probs" not in caplog.text


def test_recomputing_changes_nothing_where_nothing_is_rounded(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"iterations": 4, "updates_per_iteration": 3, "microbatch": 3}
    stored = run_dpok(tiny_model, tmp_path / "stored", **options)
    recomputed = run_dpok(tiny_model, tmp_path / "again", recompute_log_probs=True, **options)
    # Rows of the older rollout too: their own LoRA weights are put back for it.
    assert recomputed.curves["policy/log_prob_noise"].max() < 2e-6
    assert largest_difference(lora_tensors(stored), lora_tensors(recomputed)) < 1e-2


def test_the_rollout_that_fitted_is_the_next_ones_size(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SmallMemory(predict_noise, 2, lambda model, latents, *rest: len(latents))
    monkeypatch.setattr("dpok_pipeline.diffusion.sampler.predict_noise", small)
    run_dpok(tiny_model, tmp_path, iterations=3)
    assert small.refused == [NOISES, 4]  # once in the filmstrip, and once in the rollouts


def test_kl_is_zero_at_initialisation(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    result = run_dpok(tiny_model, tmp_path, iterations=2, updates_per_iteration=1)
    assert result.curves["kl/noise_mse"][0] == 0
    assert result.curves["kl/gaussian"][0] == 0
    assert result.curves["kl/noise_mse"][1] > 0


def test_every_lora_b_moves_first_then_every_lora_a(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = load_base_model(describe_base_model(tiny_model_folder))
    frozen = {key: value.clone() for key, value in model.unet.state_dict().items()}
    states = [
        lora_tensors(run_dpok(model, tmp_path / f"{updates}, {learning_rate}", iterations=1, **{
            "updates_per_iteration": updates, "learning_rate": learning_rate
        }))
        for updates, learning_rate in ((1, 1e-30), (1, 1e-2), (2, 1e-2))
    ]  # fmt: skip
    initial, once, twice = states
    for key in initial:
        if "lora_B" in key:
            assert not torch.equal(once[key], initial[key]), key
        else:
            assert torch.equal(once[key], initial[key]), key
            assert not torch.equal(twice[key], initial[key]), key
    assert all(torch.equal(value, frozen[key]) for key, value in model.unet.state_dict().items())


def test_one_microbatch_of_48_equals_4_of_12(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients: list[list[Tensor]] = []

    def recorded(optimiser: LoRAOptimiser) -> Tensor:
        gradients.append([p.grad.clone() for p in optimiser.parameters if p.grad is not None])
        return original(optimiser)

    original = LoRAOptimiser.step
    monkeypatch.setattr(LoRAOptimiser, "step", recorded)
    # Two iterations: in the second one lora_A has a gradient too.
    options = {"iterations": 2, "updates_per_iteration": 1, "images_per_iteration": 16}
    for microbatch in (48, 12):
        run_dpok(
            tiny_model,
            tmp_path / str(microbatch),
            transitions_per_update=48,
            microbatch=microbatch,
            **options,
        )
    whole, parts = gradients[0], gradients[2]
    assert len(whole) == 64
    scale = max(float(gradient.abs().max()) for gradient in whole)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * scale)
    later = torch.cat([gradient.flatten() for gradient in gradients[1]])
    later_parts = torch.cat([gradient.flatten() for gradient in gradients[3]])
    # AdamW's first step turned rounding into whole learning rates where a gradient was near 0.
    assert torch.nn.functional.cosine_similarity(later, later_parts, dim=0) > 0.999


def test_the_reward_rises_on_unseen_noise(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    prompts = list(PROMPTS) * 16

    def rewards() -> Tensor:
        samples = sample(tiny_model, prompts, SAMPLING, seed=123, indices=range(len(prompts)))
        return Brightness().score(decode(tiny_model, samples.latents), prompts)

    before = rewards()
    result = run_dpok(
        tiny_model,
        tmp_path,
        iterations=15,
        images_per_iteration=16,
        updates_per_iteration=4,
        transitions_per_update=48,
        microbatch=48,
        baseline="prompt_mean",
        ratio_clip=0.02,
        learning_rate=3e-2,
        max_grad_norm=1.0,
        checkpoint_every=15,
    )
    load_lora(tiny_model.unet, result.lora_folder)
    gain = rewards() - before
    assert gain.mean() > 5 * gain.std() / len(prompts) ** 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"baseline": "none"},
        {"baseline": "prompt_mean"},
        {"kl_form": "gaussian"},
        {"log_prob": "sum", "kl_form": "gaussian"},
        {"clip_rule": "ppo_minimum"},
        {"buffer_rollouts": 1},
    ],
)
def test_named_options(tiny_model: DiffusionModel, tmp_path: Path, changes: dict[str, Any]) -> None:
    default = lora_bytes(run_dpok(tiny_model, tmp_path / "default", iterations=2))
    result = run_dpok(tiny_model, tmp_path / "changed", iterations=2, **changes)
    assert lora_bytes(result) != default
    assert ("value/loss" in result.curves) == ("baseline" not in changes)


@pytest.mark.parametrize("form", ["noise_mse", "gaussian"])
@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_the_kl_alone_is_no_method(
    tiny_model: DiffusionModel, tmp_path: Path, form: str, reading: str
) -> None:
    # The KL has its minimum where the LoRA begins, at the base model: its gradient there is 0.
    attach_lora(tiny_model.unet, LORA, derive_seed(0, "lora"))
    initial = {f"unet.{key}": value.clone() for key, value in lora_state(tiny_model.unet).items()}
    detach_lora(tiny_model.unet)
    options: dict[str, Any] = {"kl_form": form, "log_prob": reading, "kl_weight": 1.0}
    alone = run_dpok(tiny_model, tmp_path / "alone", reward_weight=0, **options)
    assert alone.curves["grad/norm"].tolist() == [0, 0, 0]
    assert alone.curves["kl/noise_mse"].tolist() == [0, 0, 0]
    assert alone.curves["grad/skipped_updates"].tolist() == [0, 0, 0]
    trained = lora_tensors(alone)
    assert trained.keys() == initial.keys()
    assert all(torch.equal(trained[key], initial[key]) for key in initial)
    # With the reward, the same run moves.
    both = run_dpok(tiny_model, tmp_path / "both", **options)
    assert both.curves["grad/norm"].min() > 0


def test_the_kl_alone_pulls_back_what_has_moved(tiny_model: DiffusionModel) -> None:
    attach_lora(tiny_model.unet, LORA, seed=0)
    config = small_config(reward_weight=0, kl_weight=1.0, max_grad_norm=1e9)
    optimiser = LoRAOptimiser(tiny_model, config)
    with torch.no_grad():
        for weight in optimiser.parameters:
            weight.add_(0.05)
    samples = sample(
        tiny_model, PROMPTS, SAMPLING, seed=0, indices=range(len(PROMPTS)), keep_trajectory=True
    )
    buffer = TransitionBuffer(1, SAMPLING.ddim_steps, len(PROMPTS), tiny_model.latent_shape)
    buffer.add(samples, torch.arange(3.0), torch.arange(3))
    table = PromptTable.encode(tiny_model, PROMPTS)
    updater = PolicyUpdater(tiny_model, table, SAMPLING, config, optimiser)
    rows = torch.arange(len(buffer))
    distances = [
        updater.update(buffer, rows, lambda rows: rows.reward).metrics["kl/noise_mse"].item()
        for _ in range(4)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.9 * distances[0]
