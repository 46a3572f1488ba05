"""What a sweep varies, as it is written and as it is drawn."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.errors import InputError
from dpok_pipeline.sweeps.space import Choices, Range, combine, draw, read_space


def test_values_are_read_as_the_configuration_reads_them() -> None:
    space = read_space(
        ["a.rate=3e-4,1e-3", "a.rows=128,null", "a.mean=prompt_mean,none", "a.on=true,1", "b=4"]
    )
    assert space == {
        "a.rate": Choices((0.0003, 0.001)),
        "a.rows": Choices((128, None)),
        "a.mean": Choices(("prompt_mean", "none")),
        "a.on": Choices((True, 1)),
        "b": Choices((4,)),
    }
    assert [type(value) for value in space["a.on"].values] == [bool, int]  # type: ignore[union-attr]


def test_ranges() -> None:
    assert read_space(["a=1e-4..1e-2", "b=log:1e-4..1e-2", "c=2..8", "d=-1..0.5"]) == {
        "a": Range(1e-4, 1e-2),
        "b": Range(1e-4, 1e-2, log=True),
        "c": Range(2, 8, whole=True),
        "d": Range(-1, 0.5),
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["rate"], "rate: give NAME=VALUE"),
        (["=1"], "=1: give NAME=VALUE"),
        (["rate="], "rate=: give NAME=VALUE"),
        (["rate=1,,2"], "rate=1,,2: give NAME=VALUE"),
        (["rate=1", "rate=2"], "rate is given twice"),
        (["rate=1e-3,0.001"], "rate: 0.001 is given twice"),
        (["rate={a: 1}"], "rate: {a: 1} is no value"),
        (["rate=1..1"], "the smaller number comes first"),
        (["rate=2..1"], "the smaller number comes first"),
        (["rate=a..b"], "rate: a..b is no range"),
        (["rate=true..3"], "is no range"),
        (["rate=1.."], "is no range|is no value"),
        (["rate=1..inf"], "is no range"),
        (["rate=1..nan"], "is no range"),
        (["rate=log:0..1"], "orders of magnitude"),
        (["rate=1..2,3..4"], "is no range|is no value"),
        (["rate=1..2..3"], "is no range|is no value"),
    ],
)
def test_what_is_no_space(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_space(texts)


def test_a_grid_combines_every_value_with_all_others_in_the_order_given() -> None:
    space = read_space(["a=1,2", "b=x,y"])
    assert combine(space) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert combine({}) == [{}]
    with pytest.raises(InputError, match="c: a grid takes values"):
        combine(read_space(["c=1..2"]))


def test_what_is_drawn_depends_on_the_seed_and_begins_alike() -> None:
    space = read_space(["rate=log:1e-4..1e-2", "rank=2..8", "word=a,b"])
    assert draw(space, 5, seed=3) == draw(space, 9, seed=3)[:5]
    assert draw(space, 5, seed=3) != draw(space, 5, seed=4)


def test_no_setting_is_drawn_twice() -> None:
    settings = draw(read_space(["rank=1..2", "word=a,b,c"]), 6, seed=0)
    assert len({tuple(one.items()) for one in settings}) == 6
    with pytest.raises(InputError, match="--trials 7: the parameters have only 6 different"):
        draw(read_space(["rank=1..2", "word=a,b,c"]), 7, seed=0)


@given(
    low=st.floats(1e-6, 1e3),
    factor=st.floats(1.5, 1e4),
    log=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_number_drawn_lies_in_its_range(low: float, factor: float, log: bool, seed: int) -> None:
    dimension = Range(low, low * factor, log=log)
    drawn = dimension.draw(random.Random(seed))
    assert isinstance(drawn, float)
    assert dimension.low <= drawn <= dimension.high


def test_logarithms_are_spread_evenly() -> None:
    source = random.Random(0)
    drawn = [Range(1e-4, 1e-2, log=True).draw(source) for _ in range(2000)]
    below = sum(float(value) < 1e-3 for value in drawn if isinstance(value, float))
    # Half of them, give or take four standard deviations.
    assert abs(below - 1000) < 4 * math.sqrt(2000) / 2
