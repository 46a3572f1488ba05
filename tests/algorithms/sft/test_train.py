from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.algorithms.sft.samples import SFTSamples, without_prompts
from dpok_pipeline.algorithms.sft.train import SFTLearner, train_sft
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.lora import lora_layers, read_metadata
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.loop import Step
from dpok_pipeline.training.signals import Stopped
from dpok_pipeline.training.tracking import TrainingResult
from tests.algorithms.support import LORA, PROMPTS, generator, lora_bytes, lora_tensors


def samples(rewards: list[float] | None = None) -> SFTSamples:
    count = 12
    return SFTSamples(
        latents=torch.randn(count, 4, 8, 8, generator=generator(0)),
        rewards=torch.tensor(rewards or [0.5, -1.0, 2.0] * 4),
        prompts=list(PROMPTS),
        prompt_numbers=torch.arange(count) % 3,
    )


def run(model: DiffusionModel, work_dir: Path, data: Any = None, **changes: Any) -> TrainingResult:
    values: dict[str, Any] = {
        "updates": 4,
        "rows_per_update": 6,
        "microbatch": 6,
        "learning_rate": 1e-2,
        "log_every": 2,
        "checkpoint_every": 1,
    }
    config = SFTConfig(**{**values, **changes})
    return train_sft(model, data or samples(), lora=LORA, config=config, work_dir=work_dir)


def test_two_runs_give_the_same_bytes(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    one, two = (run(tiny_model, tmp_path / name) for name in ("one", "two"))
    assert lora_bytes(one) == lora_bytes(two)
    assert one.curves["step"].tolist() == [2, 4]
    assert one.curves["images_seen"].tolist() == [12, 24]
    assert one.summary["positive_weights"] == 8
    assert not lora_layers(tiny_model.unet)


def test_both_forms_are_plain_weighted_regression_at_gamma_0(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    divergence = run(tiny_model, tmp_path / "d", regularisation="kl_d", sft_shift=0)
    objective = run(tiny_model, tmp_path / "o", regularisation="kl_o", sft_shift=0)
    assert lora_bytes(divergence) == lora_bytes(objective)


def test_gamma_acts_differently_in_the_two_forms(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    results = {
        (form, shift): lora_bytes(
            run(tiny_model, tmp_path / f"{form}{shift}", regularisation=form, sft_shift=shift)
        )
        for form in ("kl_d", "kl_o")
        for shift in (1.0, 2.0)
    }
    assert len(set(results.values())) == 4


def test_kl_o_holds_the_policy_back(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    # 40 times the pull: the distance to the base model after the same updates is smaller.
    options: dict[str, Any] = {"updates": 12, "log_every": 12, "max_grad_norm": 1e9}
    free = run(tiny_model, tmp_path / "free", sft_shift=0.0, **options)
    held = run(tiny_model, tmp_path / "held", sft_shift=40.0, **options)
    assert held.curves["kl/noise_mse"][0] < free.curves["kl/noise_mse"][0]


def test_rows_of_negative_reward_teach_nothing(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    data = samples()
    altered = SFTSamples(
        latents=torch.where((data.rewards < 0).reshape(-1, 1, 1, 1), torch.zeros(()), data.latents),
        rewards=data.rewards,
        prompts=data.prompts,
        prompt_numbers=data.prompt_numbers,
    )
    options: dict[str, Any] = {"regularisation": "kl_d", "sft_shift": 0.0}
    one = lora_tensors(run(tiny_model, tmp_path / "one", data, **options))
    two = lora_tensors(run(tiny_model, tmp_path / "two", altered, **options))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_noise_error_falls(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    options: dict[str, Any] = {"updates": 40, "log_every": 10, "regularisation": "kl_d"}
    error = run(tiny_model, tmp_path, **options).curves["policy/noise_error"]
    assert error.iloc[-1] < error.iloc[0]


def test_x0_loss_and_microbatches(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    usual = run(tiny_model, tmp_path / "epsilon", updates=1)
    paper = run(tiny_model, tmp_path / "x0", updates=1, loss="x0")
    assert paper.curves["policy/loss"][0] > usual.curves["policy/loss"][0]
    parts = run(tiny_model, tmp_path / "parts", updates=1, microbatch=4)
    assert parts.curves["policy/loss"][0] == pytest.approx(usual.curves["policy/loss"][0], 1e-5)
    assert parts.curves["grad/norm"][0] == pytest.approx(usual.curves["grad/norm"][0], 1e-4)


@pytest.mark.parametrize("stop", [1, 3])
def test_interrupted_sft(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = run(tiny_model, tmp_path / "whole")
    original = SFTLearner.step

    def interrupted(learner: SFTLearner, number: int) -> Step:
        if number == stop:
            raise KeyboardInterrupt
        return original(learner, number)

    with monkeypatch.context() as patch:
        patch.setattr(SFTLearner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_model, tmp_path / "parts")
    parts = run(tiny_model, tmp_path / "parts")
    assert lora_bytes(parts) == lora_bytes(whole)
    columns = [name for name in whole.curves if not name.startswith("perf/")]
    pd.testing.assert_frame_equal(parts.curves[columns], whole.curves[columns], check_exact=True)


def test_how_often_to_log_may_change(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    whole = run(tiny_model, tmp_path / "whole", updates=4)
    run(tiny_model, tmp_path / "parts", updates=2, log_every=1)
    assert lora_bytes(run(tiny_model, tmp_path / "parts", updates=4)) == lora_bytes(whole)


def test_other_samples_and_parameters_are_refused_by_name(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    run(tiny_model, tmp_path, updates=1)
    with pytest.raises(InputError, match=r"sft_training\.sft_shift was .* and is 0\.7"):
        run(tiny_model, tmp_path, updates=2, sft_shift=0.7)
    others = samples([1.0, 2.0, 3.0] * 4)
    with pytest.raises(InputError, match=r"sft_samples was \w{12}… and is \w{12}…"):
        run(tiny_model, tmp_path, others, updates=2)


def test_how_the_samples_were_made_is_kept_beside_the_lora_and_binds_no_checkpoint(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    generation = {"sample_generation": {"images": 3}, "reward_model": {"kind": "own"}}
    recipe = {**generation, "prompts": [["p", "A cat."]], "kernels": "plain"}
    known = dataclasses.replace(samples(), made_by=without_prompts(recipe))
    result = run(tiny_model, tmp_path / "unknown", updates=1)
    assert "samples" not in read_metadata(result.lora_folder)
    # A run of a release that did not know it goes on.
    result = run(tiny_model, tmp_path / "unknown", known, updates=2)
    assert read_metadata(result.lora_folder)["samples"] == generation
    whole = run(tiny_model, tmp_path / "known", known, updates=2)
    assert lora_bytes(result) == lora_bytes(whole)


def test_broken_gradients_in_a_row_stop_sft(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    huge = samples([3e38, 1.0, 1.0] * 4)
    with pytest.raises(InputError, match="3 updates in a row") as raised:
        run(tiny_model, tmp_path, huge, updates=9, stop_after_skipped=3)
    assert "largest reward 3e+38" in str(raised.value)
    assert any(prompt in str(raised.value) for prompt in PROMPTS)


def test_a_skipped_update_does_not_spoil_the_others_metrics(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    # One image at a time: an update meets the broken reward or it does not.
    huge = samples([3e38, *[1.0] * 11])
    curves = run(tiny_model, tmp_path, huge, updates=24, rows_per_update=1, log_every=8).curves
    assert curves["grad/skipped_updates"].iloc[-1] > 0
    assert curves["policy/loss"].max() < 100
    assert curves["grad/norm"].notna().all()


def test_a_signal_ends_sft_after_its_update(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"updates": 4, "checkpoint_every": None}
    whole = run(tiny_model, tmp_path / "whole", **options)
    original = SFTLearner.step

    def signalled(learner: SFTLearner, number: int) -> Step:
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(learner, number)

    with monkeypatch.context() as patch:
        patch.setattr(SFTLearner, "step", signalled)
        with pytest.raises(Stopped):
            run(tiny_model, tmp_path / "parts", **options)
    (saved,) = (tmp_path / "parts" / "checkpoints").iterdir()
    assert saved.name == "step-00000002"
    assert lora_bytes(run(tiny_model, tmp_path / "parts", **options)) == lora_bytes(whole)


def test_unusable_samples(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weight above 0 .*highest reward -1\.000"):
        run(tiny_model, tmp_path, samples([-1.0, -2.0, -3.0] * 4))
    run(tiny_model, tmp_path, samples([-1.0] * 12), regularisation="kl_d", updates=1)
    wrong = SFTSamples(torch.zeros(2, 4, 4, 4), torch.ones(2), ["A cat."], torch.zeros(2).long())
    with pytest.raises(InputError, match=r"\(4, 4, 4\).*\(4, 8, 8\)"):
        run(tiny_model, tmp_path, wrong)
    foreign = dataclasses.replace(samples(), base_model="abcdef")
    with pytest.raises(InputError, match="drawn by the base model abcdef, this one is"):
        run(tiny_model, tmp_path, foreign)
    own = dataclasses.replace(samples(), base_model=tiny_model.handle.content_hash)
    run(tiny_model, tmp_path / "own", own, updates=1)


def frame(**changes: Any) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "prompt": ["A dog.", "A cat.", "A dog."],
        "reward": np.asarray([1, 2, 3], np.float32),
        "latent": list(np.arange(12, dtype=np.float32).reshape(3, 4)),
        "latent_shape": [[1, 2, 2]] * 3,
    }
    return pd.DataFrame({**columns, **changes})


def test_samples_from_a_frame() -> None:
    data = SFTSamples.from_frame(frame())
    assert data.latents.shape == (3, 1, 2, 2)
    assert data.latents[1].flatten().tolist() == [4, 5, 6, 7]
    assert data.prompts == ["A dog.", "A cat."]
    assert data.prompt_numbers.tolist() == [0, 1, 0]
    assert len(data) == 3
    assert data.made_by == {}
    known = SFTSamples.from_frame(frame(), {"base_model": "abc", "prompts": [], "kernels": "x"})
    assert (known.base_model, known.made_by) == ("abc", {"base_model": "abc"})


def test_images_without_a_reward_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = SFTSamples.from_frame(frame(reward=[1.0, np.nan, np.inf]))
    assert data.rewards.tolist() == [1.0]
    # By this list a LoRA is compared with the prompts that there are, in their order.
    assert data.prompts == ["A dog.", "A cat."]
    assert data.prompt_numbers.tolist() == [0]
    assert "leaves out 2 of 3 images" in caplog.text
    assert "it learns nothing of 'A cat.'" in caplog.text
    first = SFTSamples.from_frame(frame(reward=[np.nan, 1.0, 2.0]))
    assert (first.prompts, first.prompt_numbers.tolist()) == (["A dog.", "A cat."], [1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_shape": [[1, 2, 2], [1, 2, 2], [2, 1, 2]]}, "several shapes"),
        ({"latent": [np.full(4, np.nan)] * 3}, "a latent is not finite"),
        ({"reward": [np.nan] * 3}, "no image has a finite reward"),
    ],
)
def test_unusable_frames(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SFTSamples.from_frame(frame(**changes))
    with pytest.raises(InputError, match="no column 'reward'"):
        SFTSamples.from_frame(frame().drop(columns="reward"))
    with pytest.raises(InputError, match="no row"):
        SFTSamples.from_frame(frame().iloc[:0])
