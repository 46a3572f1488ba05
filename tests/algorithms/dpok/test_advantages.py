"""Advantages and their scales by hand, and the configurations whose advantages would be 0."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dpok_pipeline.algorithms.dpok.advantages import (
    EPSILON,
    FEWEST_REWARDS,
    Advantages,
    PromptHistory,
)
from dpok_pipeline.algorithms.dpok.buffer import TransitionBuffer
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.sampler import Samples
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.config import group_size_for
from tests.algorithms.support import PROMPTS, SAMPLING, lora_bytes, run_dpok, small_config


def buffer_of(*rollouts: tuple[list[float], list[int]]) -> TransitionBuffer:
    """One step per image, so that row number and image are the same."""
    images = len(rollouts[0][0])
    buffer = TransitionBuffer(2, steps=1, images=images, latent_shape=(1, 1, 1))
    latents = torch.zeros(2, images, 1, 1, 1)
    for rewards, prompts in rollouts:
        samples = Samples(latents[-1], images, latents, torch.zeros(1, images))
        buffer.add(samples, torch.tensor(rewards), torch.tensor(prompts))
    return buffer


def advantages_of(buffer: TransitionBuffer, *, times: int = 1, **changes: Any) -> Tensor:
    values = {"baseline": "prompt_mean", **changes}
    advantages = Advantages(small_config(**values), prompts=4, critic=None)
    for _ in range(times):
        advantages.measure(buffer)
    return advantages(buffer.rows(torch.arange(len(buffer))))


TWO = (([1.0, 3.0, 5.0, 2.0], [0, 0, 1, 2]), ([2.0, 6.0, 9.0, 4.0], [0, 1, 1, 3]))


def test_prompt_mean_over_the_whole_buffer() -> None:
    # Prompt 0 has 1, 3, 2; prompt 1 has 5, 6, 9; prompts 2 and 3 have one image each.
    found = advantages_of(buffer_of(*TWO))
    expected = [-1, 1, 5 - 20 / 3, 0, 0, 6 - 20 / 3, 9 - 20 / 3, 0]
    assert found.tolist() == pytest.approx(expected)
    assert found[[3, 7]].tolist() == [0, 0]  # exactly
    assert advantages_of(buffer_of(*TWO), baseline="none").tolist() == [1, 3, 5, 2, 2, 6, 9, 4]


def test_a_buffer_that_is_not_full_yet() -> None:
    assert advantages_of(buffer_of(TWO[0])).tolist() == [-1, 1, 0, 0]


def test_group_scale_by_hand() -> None:
    found = advantages_of(buffer_of(*TWO), advantage_scale="group")
    zero, one = (2 / 3) ** 0.5, (26 / 9) ** 0.5  # population deviations of 1, 3, 2 and 5, 6, 9
    expected = [-1 / zero, 1 / zero, -5 / 3 / one, 0, 0, -2 / 3 / one, 7 / 3 / one, 0]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    raw = advantages_of(buffer_of(*TWO), advantage_scale="group", baseline="none")
    assert raw.tolist() == pytest.approx(
        [1 / zero, 3 / zero, 5 / one, 0, 2 / zero, 6 / one, 9 / one, 0], rel=1e-5
    )


def test_no_spread_no_preference() -> None:
    # A mean of three times 0.1 is not 0.1 in float32: its rounding must not become an advantage.
    buffer = buffer_of(([0.1, 0.1, 0.1], [0, 0, 0]))
    scaled = advantages_of(buffer, advantage_scale="group", baseline="none")
    assert scaled.tolist() == [0, 0, 0]
    assert advantages_of(buffer, advantage_scale="group").abs().max() < 1e-12


def test_prompt_scale_by_hand() -> None:
    rollout = ([1.0, 3.0, 5.0, 9.0], [0, 0, 1, 1])
    buffer = buffer_of(rollout)
    everything = torch.tensor(rollout[0]).std(correction=0)  # too few rewards of either prompt
    found = advantages_of(buffer, advantage_scale="prompt")
    assert found.tolist() == pytest.approx((torch.tensor([-1, 1, -2, 2]) / everything).tolist())
    # Four rollouts later each prompt has had eight rewards: its own deviation, 1 and 2.
    found = advantages_of(buffer, advantage_scale="prompt", times=4)
    assert found.tolist() == pytest.approx([-1, 1, -1, 1], rel=1e-5)
    assert FEWEST_REWARDS == 8
    assert EPSILON < 1e-5


def test_prompt_scale_of_one_reward_only() -> None:
    buffer = buffer_of(([2.0, 2.0], [0, 1]))
    assert advantages_of(buffer, advantage_scale="prompt", baseline="none").tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=2, max_size=6))
def test_history_is_the_deviation_of_everything(rollouts: list[list[float]]) -> None:
    history, restored = PromptHistory(2), PromptHistory(2)
    for rewards in rollouts:
        restored.load_state_dict(history.state_dict())
        history = restored
        history.add(torch.tensor([0, 1, 1, 1]), torch.tensor(rewards))
    expected = torch.tensor(rollouts)[:, 1:].flatten().double().std(correction=0)
    unknown = 0.123
    found = history.spread(torch.tensor([0, 1]), otherwise=unknown)
    if 3 * len(rollouts) >= FEWEST_REWARDS:
        assert found[1].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    else:
        assert found[1].item() == pytest.approx(unknown)
    assert found[0].item() == pytest.approx(unknown)


@pytest.mark.parametrize("scale", ["group", "prompt"])
def test_scaled_runs_differ_and_resume_bit_for_bit(
    tiny_model: DiffusionModel, tmp_path: Any, scale: str
) -> None:
    options: dict[str, Any] = {
        "baseline": "prompt_mean",
        "images_per_iteration": 8,
        "group_size": 4,
        "buffer_rollouts": 1,
        "advantage_scale": scale,
    }
    plain = run_dpok(tiny_model, tmp_path / "plain", **{**options, "advantage_scale": "none"})
    whole = run_dpok(tiny_model, tmp_path / "whole", **options)
    assert lora_bytes(whole) != lora_bytes(plain)
    assert whole.curves["policy/zero_advantages"].max() == 0
    run_dpok(tiny_model, tmp_path / "parts", **{**options, "iterations": 2})
    parts = run_dpok(tiny_model, tmp_path / "parts", **options)
    assert lora_bytes(parts) == lora_bytes(whole)


def check(prompts: int, **changes: Any) -> None:
    values: dict[str, Any] = {
        "baseline": "prompt_mean",
        "images_per_iteration": 16,
        "iterations": 20,
        "buffer_rollouts": 1,
    }
    small_config(**{**values, **changes}).check(SAMPLING, prompts)


@pytest.mark.parametrize(
    ("prompts", "changes"),
    [
        (16, {}),
        (16, {"baseline": "none", "advantage_scale": "group"}),
        (104, {"images_per_iteration": 45}),
    ],
)
def test_mostly_zero_advantages_are_refused_in_one_line(
    prompts: int, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"\d+% of the advantages are exactly 0") as raised:
        check(prompts, **changes)
    assert "\n" not in str(raised.value)
    assert "group_size" in str(raised.value)


def test_other_configurations_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(1)
        check(4)
        check(16, group_size=2)
        check(16, baseline="value_function")
        check(16, baseline="none", advantage_scale="prompt")
    assert not caplog.records


def test_over_a_third_warns(caplog: pytest.LogCaptureFixture) -> None:
    # 16 images of 11 prompts: five or so of them twice, the rest alone.
    with caplog.at_level(logging.WARNING):
        check(11)
    assert "of the advantages are exactly 0" in caplog.text


def test_the_count_is_what_training_meets(tiny_model: DiffusionModel, tmp_path: Any) -> None:
    options: dict[str, Any] = {
        "baseline": "prompt_mean",
        "images_per_iteration": 4,
        "buffer_rollouts": 1,
        # Every row of the buffer once in each update.
        "transitions_per_update": 4 * SAMPLING.ddim_steps,
        "iterations": 3,
    }
    counted = small_config(**options).zero_advantages(len(PROMPTS))
    met = run_dpok(tiny_model, tmp_path, **options).curves["policy/zero_advantages"].mean()
    assert 0 < counted < 0.5 or math.isclose(counted, 0.5)
    assert met == pytest.approx(counted)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(2, 64), st.sampled_from([1, 2]))
def test_any_number_of_prompts_learns_with_the_chosen_group(
    prompts: int, images: int, rollouts: int
) -> None:
    group_size = group_size_for(prompts, images)
    check(
        prompts,
        images_per_iteration=images,
        group_size=group_size,
        buffer_rollouts=rollouts,
        iterations=6,
    )
