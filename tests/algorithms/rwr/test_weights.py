from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.algorithms.rwr.weights import effective_share, image_weights


def weights(rewards: list[float], prompts: list[int], temperature: float = 1.0) -> list[float]:
    found: list[float] = image_weights(
        torch.tensor(rewards), torch.tensor(prompts), temperature
    ).tolist()
    return found


def test_one_prompt_by_hand() -> None:
    # Mean 2, standard deviation 1: the scores are −1 and 1.
    total = math.exp(1) + math.exp(-1)
    expected = [2 * math.exp(-1) / total, 2 * math.exp(1) / total]
    assert weights([1.0, 3.0], [0, 0]) == pytest.approx(expected)
    colder = math.exp(2) + math.exp(-2)
    assert weights([1.0, 3.0], [0, 0], 0.5) == pytest.approx(
        [2 * math.exp(-2) / colder, 2 * math.exp(2) / colder]
    )


def test_an_easy_prompt_does_not_take_all_the_weight() -> None:
    # Prompt 1 is 100 easier and as spread out: its images weigh what those of prompt 0 do.
    found = weights([1.0, 3.0, 101.0, 103.0], [0, 0, 1, 1])
    assert found == pytest.approx(weights([1.0, 3.0], [0, 0]) * 2)
    # One image alone of its prompt has the score of an average one.
    spread = (2 / 3) ** 0.5
    total = math.exp(1 / spread) + math.exp(-1 / spread) + 1
    assert weights([1.0, 3.0, 50.0], [0, 0, 1])[2] == pytest.approx(3 / total)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=9),
    st.floats(0.3, 3),
    st.floats(0.1, 50),
    st.floats(-50, 50),
)
def test_neither_scale_nor_offset_of_a_reward_matter(
    rewards: list[int], temperature: float, scale: float, offset: float
) -> None:
    values, prompts = torch.tensor(rewards).float(), torch.arange(len(rewards)) % 2
    one = image_weights(values, prompts, temperature)
    assert one.mean().item() == pytest.approx(1, rel=1e-4)
    assert bool((one > 0).all())
    other = image_weights(values * scale + offset, prompts, temperature)
    torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
    assert 0 < effective_share(one).item() <= 1 + 1e-5


def test_equal_rewards_weigh_alike() -> None:
    assert weights([0.1, 0.1, 0.1], [0, 0, 0]) == [1, 1, 1]
    assert weights([1.0, 7.0], [0, 1]) == [1, 1]
    assert weights([5.0], [0]) == [1]


def test_effective_share_by_hand() -> None:
    assert effective_share(torch.ones(4)).item() == 1
    assert effective_share(torch.tensor([4.0, 0.0, 0.0, 0.0])).item() == 0.25
    assert effective_share(torch.tensor([2.0, 2.0, 0.0, 0.0])).item() == 0.5
