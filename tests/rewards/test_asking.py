"""Whatever a reward does, images stay as they are, and its failures are named."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.scores import score_columns
from dpok_pipeline.rewards.load import ScorerConfig, WeightedScorerConfig, load_scorer
from dpok_pipeline.rewards.own.loading import try_out
from dpok_pipeline.rewards.scorer import ask
from dpok_pipeline.training.scoring import score_rewards
from tests.misbehaving import rewards

OWN = "tests.misbehaving.rewards"
PROMPTS = ["a cat", "a dog", "a green cat"]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["blacken", "whiten"])
def test_a_reward_that_writes_into_its_images_changes_nobody_elses(
    images: torch.Tensor, kind: str
) -> None:
    reward = load_scorer(ScorerConfig(kind=f"{OWN}.{kind}"))
    before, prompts = images.clone(), list(PROMPTS)
    score_rewards(reward, images, prompts)
    table = score_columns(images, prompts, {"own": reward})
    assert torch.equal(images, before)
    assert prompts == PROMPTS
    untouched = score_columns(images, prompts, {})
    np.testing.assert_array_equal(table["saturation"], untouched["saturation"])


def test_the_parts_of_a_sum_do_not_see_what_another_part_has_written(images: torch.Tensor) -> None:
    def part(kind: str) -> WeightedScorerConfig:
        return WeightedScorerConfig(kind=f"{OWN}.{kind}", weight=1.0)

    total = load_scorer(
        ScorerConfig(
            kind="weighted_sum", parts={"first": part("blacken"), "second": part("blacken")}
        )
    )
    bright = images.mean((1, 2, 3))
    torch.testing.assert_close(total.score(images, PROMPTS), 2 * bright)


def test_a_tensor_that_is_filled_again_is_not_shared(images: torch.Tensor) -> None:
    table = score_columns(images, PROMPTS, {"own": rewards.Refills()}, batch_size=1)
    np.testing.assert_allclose(table["own"], images.mean((1, 2, 3)), rtol=1e-6)


def test_an_infinite_score_counts_as_none(
    images: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    reward = load_scorer(ScorerConfig(kind=f"{OWN}.infinite_for_some"))
    table = score_columns(images, PROMPTS, {"own": reward})
    assert np.isfinite(table["own"].mean())
    assert table["own"].isna().sum() == 1
    assert "own gave 1 of 3 images no finite score" in caplog.text


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("divide", r"raised ZeroDivisionError in .*rewards\.py, line \d+ \(.*division"),
        ("leave", r"raised SystemExit in .*rewards\.py, line \d+"),
        ("imaginary", "returned no numbers: complex numbers"),
        ("too_many", r"returned shape \(4,\) for 3 images"),
    ],
)
def test_a_reward_that_fails_is_named_with_the_line(
    images: torch.Tensor, kind: str, says: str
) -> None:
    reward = load_scorer(ScorerConfig(kind=f"{OWN}.{kind}"))
    with pytest.raises(InputError, match=f"reward `{OWN}.{kind}`: {says}") as raised:
        score_rewards(reward, images, PROMPTS)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=f"reward `column`: {says}"):
        score_columns(images, PROMPTS, {"column": _Unchecked(kind)})


class _Unchecked:
    """A function of the user's as a scorer that checks nothing itself."""

    def __init__(self, kind: str) -> None:
        self.score = getattr(rewards, kind)


def test_memory_that_runs_out_is_no_fault_of_the_reward(images: torch.Tensor) -> None:
    class Hungry:
        def score(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        ask(Hungry(), images, PROMPTS)


def test_trying_a_reward_out_draws_none_of_the_random_numbers_that_come_later(
    tmp_path: Path,
) -> None:
    class Draws:
        def score(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            return torch.rand(len(prompts))

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try_out(Draws(), PROMPTS, side=8)
    assert torch.equal(torch.rand(3), expected)


def test_what_a_reward_sets_for_the_whole_process_is_set_back(images: torch.Tensor) -> None:
    """Training after it would compute in another type, or without gradients."""
    reward = load_scorer(ScorerConfig(kind=f"{OWN}.unsettle"))
    folder, handler, stream = os.getcwd(), signal.getsignal(signal.SIGINT), sys.stdout
    filters = list(warnings.filters)
    scores = ask(reward, images, PROMPTS)
    torch.testing.assert_close(scores, images.mean((1, 2, 3)))
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert torch._C._len_torch_function_stack() == 0  # no call of torch is wrapped any more
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    layer, ones = torch.nn.Linear(4, 1, bias=False), torch.ones(1, 4)
    for weight in (1.0, 2.0):  # What has been learned is seen: no older weight is kept.
        torch.nn.init.constant_(layer.weight, weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(ones).item() == 4 * weight
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()
    assert (os.getcwd(), signal.getsignal(signal.SIGINT)) == (folder, handler)
    assert sys.stdout is stream
    assert list(warnings.filters) == filters
    assert logging.root.manager.disable == 0
