from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpok_pipeline.commands.errors import explain
from dpok_pipeline.diffusion.memory import halve_until_fits, in_parts, whole_or_not
from dpok_pipeline.errors import InputError
from tests.small_memory import SmallMemory


def numbers(part: slice) -> Tensor:
    return torch.arange(7)[part]


@pytest.mark.parametrize(("size", "refused"), [(64, [7, 4]), (7, [7, 4]), (3, [3]), (2, [])])
def test_parts_are_halved_from_no_more_than_the_batch(size: int, refused: list[int]) -> None:
    small = SmallMemory(numbers, 2, lambda part: len(numbers(part)))
    assert in_parts(small, 7, size, "counting").tolist() == list(range(7))
    assert small.refused == refused


def test_no_rows_have_no_parts() -> None:
    assert in_parts(numbers, 0, 3, "counting").tolist() == []


@pytest.mark.parametrize("gradients", [True, False])
def test_one_that_does_not_fit_is_an_error_in_one_line(gradients: bool) -> None:
    small = SmallMemory(int, 0, lambda size: size)
    with pytest.raises(InputError) as raised:
        halve_until_fits(small, 3, "training on cuda:0", gradients=gradients)
    line = explain(raised.value)
    assert line is not None
    assert line.startswith("training on cuda:0: one at a time does not fit")
    assert line.endswith("take a smaller model, or set compute.device to cpu")
    assert ("gradient_checkpointing" in line) == gradients
    assert small.refused == [3, 2, 1]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_what_has_no_parts_is_said_not_to_fit(error: Exception) -> None:
    with (
        pytest.raises(InputError) as raised,
        whole_or_not("opening it on cuda", "take a smaller model"),
    ):
        raise error
    assert str(raised.value) == "opening it on cuda: does not fit in memory; take a smaller model"


def test_other_faults_are_no_matter_of_memory() -> None:
    with pytest.raises(RuntimeError, match="sizes do not match"), whole_or_not("it", "do less"):
        raise RuntimeError("sizes do not match")
