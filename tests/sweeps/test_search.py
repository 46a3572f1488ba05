"""Which candidates each search asks for, by what it is told of those before."""

from __future__ import annotations

from contextlib import suppress

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.sweeps.order import Order
from dpok_pipeline.sweeps.search import (
    AT_ONCE,
    HOPELESS,
    Candidate,
    Search,
    Verdict,
    halve,
    propose,
    rounds_of,
    try_all,
)
from dpok_pipeline.sweeps.space import Setting, read_space


def play(search: Search, score: dict[int, float] | None = None) -> list[list[Candidate]]:
    """Run a search that is told `score[a]` of a setting with the value a, or a itself."""
    asked = [next(search)]
    while True:
        values = [one.setting["a"] for one in asked[-1]]
        verdicts = [Verdict(score[value] if score else float(value)) for value in values]  # type: ignore[index, arg-type]
        try:
            asked.append(search.send(verdicts))
        except StopIteration:
            return asked


def numbers(batch: list[Candidate]) -> list[object]:
    return [one.setting["a"] for one in batch]


def settings(count: int) -> list[Setting]:
    return [{"a": number} for number in range(count)]


def test_a_grid_is_tried_once() -> None:
    assert play(try_all(settings(3))) == [[Candidate({"a": number}, 1.0) for number in range(3)]]


def test_successive_halving_keeps_the_best_and_gives_them_longer() -> None:
    asked = play(halve(settings(9), 3))
    assert [numbers(batch) for batch in asked] == [[*range(9)], [6, 7, 8], [8]]
    assert [[one.share for one in batch] for batch in asked] == [[1 / 9] * 9, [1 / 3] * 3, [1.0]]


def test_halves_that_do_not_come_out_even() -> None:
    asked = play(halve(settings(7), 2))
    assert [numbers(batch) for batch in asked] == [[*range(7)], [4, 5, 6], [6]]
    assert [batch[0].share for batch in asked] == [1 / 4, 1 / 2, 1.0]


@pytest.mark.parametrize(
    ("count", "factor", "rounds"),
    [(1, 2, 1), (2, 2, 2), (3, 2, 2), (4, 2, 3), (8, 3, 2), (9, 3, 3), (27, 3, 4), (2, 5, 1)],
)
def test_rounds(count: int, factor: int, rounds: int) -> None:
    assert rounds_of(count, factor) == rounds


def test_a_score_that_fell_too_far_is_made_up_for_by_nothing() -> None:
    verdicts = [Verdict(9.0, 0.3), Verdict(1.0), Verdict(0.5), Verdict(8.0, 0.1)]
    assert sorted(range(4), key=lambda at: verdicts[at].rank) == [1, 2, 3, 0]


def test_what_tpe_proposes_depends_on_seed_and_verdicts_alone() -> None:
    pytest.importorskip("optuna")
    space = read_space(["a=0..1000", "b=log:1e-4..1e-2", "c=x,y"])
    asked = play(propose(space, 22, seed=1))
    assert [len(batch) for batch in asked] == [AT_ONCE] * 5 + [2]
    assert asked == play(propose(space, 22, seed=1))
    assert asked != play(propose(space, 22, seed=2))
    for batch in asked:
        for one in batch:
            assert isinstance(one.setting["a"], int)
            assert 1e-4 <= float(one.setting["b"]) <= 1e-2  # type: ignore[arg-type]
            assert one.setting["c"] in ("x", "y")


def test_tpe_goes_where_it_is_told_that_it_is_good() -> None:
    pytest.importorskip("optuna")
    asked = play(propose(read_space(["a=0..1000"]), 40, seed=0))
    late = [value for batch in asked[-3:] for value in numbers(batch)]
    assert sum(value > 700 for value in late) > len(late) / 2  # type: ignore[operator, misc]


def test_tpe_finds_what_is_good_among_much_that_diverges() -> None:
    pytest.importorskip("optuna")
    search = propose(read_space(["a=0..1000"]), 40, seed=0)
    batch, asked = next(search), []
    with suppress(StopIteration):
        while True:
            asked.append(batch)
            values = [float(value) for value in numbers(batch)]  # type: ignore[arg-type]
            batch = search.send(
                [
                    Verdict(-abs(one - 300)) if one < 500 else Verdict(-HOPELESS, HOPELESS)
                    for one in values
                ]
            )
    late = [float(value) for batch in asked[-3:] for value in numbers(batch)]  # type: ignore[arg-type]
    assert sum(200 < value < 400 for value in late) > len(late) / 2


def order(*texts: str, **options: object) -> Order:
    return Order("dpok", ("color",), read_space(texts), **options)  # type: ignore[arg-type]


def test_an_order_begins_the_search_that_it_names() -> None:
    assert len(next(order("a=1,2,3").begin())) == 3
    assert len(next(order("a=1..9", search="random", trials=4).begin())) == 4
    halved = next(order("a=1,2,3,4", halving=2).begin())
    assert [one.share for one in halved] == [0.25] * 4


def test_tpe_cannot_be_halved() -> None:
    with pytest.raises(InputError, match="--halving needs all settings at once"):
        order("a=1..9", search="tpe", halving=2).begin()


def test_both_ends_of_a_range_are_looked_at_before_any_work() -> None:
    corners = order("a=log:1e-4..1e-2", "b=x,y", search="tpe").corners()
    assert corners == [{"a": 1e-4}, {"a": 1e-2}, {"b": "x"}, {"b": "y"}]
