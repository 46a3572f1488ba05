"""Groups of images of one prompt: their order, their size, and the images that have no group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dpok_pipeline.training.config import OnlineConfig, group_size_for
from dpok_pipeline.training.randomness import (
    counter_generator,
    prompt_numbers,
    share_of_lone_images,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.integers(1, 7), st.integers(0, 50), st.integers(1, 20))
def test_prompts_come_evenly_and_resume_anywhere(
    seed: int, prompts: int, start: int, count: int
) -> None:
    whole = prompt_numbers(seed, prompts, 0, start + count).tolist()
    assert prompt_numbers(seed, prompts, start, count).tolist() == whole[start:]
    for epoch in range((start + count) // prompts):
        assert sorted(whole[epoch * prompts : (epoch + 1) * prompts]) == list(range(prompts))


def test_single_images_are_the_series_of_shuffles() -> None:
    shuffles = [torch.randperm(5, generator=counter_generator(3, "prompts", e)) for e in range(3)]
    assert prompt_numbers(3, 5, 0, 15).tolist() == torch.cat(shuffles).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.integers(1, 7), st.integers(1, 5), st.integers(0, 9))
def test_groups_take_the_place_of_single_images(
    seed: int, prompts: int, group_size: int, groups: int
) -> None:
    singles = prompt_numbers(seed, prompts, 0, groups + 4)
    start, count = groups * group_size, 4 * group_size
    drawn = prompt_numbers(seed, prompts, start, count, group_size)
    assert drawn.tolist() == singles[groups:].repeat_interleave(group_size).tolist()


def test_a_group_divides_the_rollout() -> None:
    OnlineConfig(iterations=1, images_per_iteration=12, group_size=4)
    with pytest.raises(ValidationError, match="group_size 5 does not divide images_per_iteration"):
        OnlineConfig(iterations=1, images_per_iteration=12, group_size=5)


def lone(prompts: int, **changes: int) -> float:
    values = {"images": 4, "group_size": 1, "rollouts": 1, "iterations": 3}
    return share_of_lone_images(0, prompts, **{**values, **changes})


def test_lone_images_by_hand() -> None:
    assert lone(1) == 0
    assert lone(1, images=1) == 1
    assert lone(4) == 1  # an epoch a rollout
    assert lone(4, rollouts=2) == pytest.approx(1 / 3)  # the first rollout stands alone
    assert lone(2) == 0
    assert lone(4, group_size=2) == 0
    assert lone(9, images=3, rollouts=3, iterations=1) == 1
    # Rollouts of 4 out of 3 prompts: one of them twice in the first, and so on.
    drawn = prompt_numbers(0, 3, 0, 12).reshape(3, 4).tolist()
    expected = [sum(row.count(prompt) == 1 for prompt in row) / 4 for row in drawn]
    assert lone(3) == pytest.approx(sum(expected) / 3)


def test_the_share_of_the_known_cases() -> None:
    assert lone(16, images=16, iterations=20) == 1
    # 104 prompts at 45 images an iteration: an image meets another one only where epochs meet.
    assert lone(104, images=45, iterations=2000) == pytest.approx(0.936, abs=0.001)
    assert lone(104, images=45, rollouts=2, iterations=2000) == pytest.approx(0.751, abs=0.001)
    assert lone(104, images=45, group_size=5, rollouts=2, iterations=2000) == 0


def test_only_the_first_iterations_are_counted() -> None:
    assert lone(5, iterations=200) == lone(5, iterations=20_000)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(2, 64))
def test_the_chosen_group_leaves_no_image_alone(prompts: int, images: int) -> None:
    group_size = group_size_for(prompts, images)
    assert images % group_size == 0
    assert lone(prompts, images=images, group_size=group_size, iterations=20) == 0
    if images >= 4 * prompts:
        assert group_size == 1
    else:
        assert group_size >= min(4, images)


def test_chosen_groups_by_hand() -> None:
    found = {(p, m): group_size_for(p, m) for p, m in [(1, 16), (4, 16), (5, 16), (3, 10), (2, 3)]}
    assert found == {(1, 16): 1, (4, 16): 1, (5, 16): 4, (3, 10): 5, (2, 3): 3}
    assert group_size_for(200, 7) == 7
    assert group_size_for(1, 1) == 1
