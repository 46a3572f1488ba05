from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import changes, check_same, fingerprint, flatten

RECIPE: dict[str, Any] = {
    "rl_training": {"kl_weight": 0.01, "value": {"hidden_size": 8}, "baseline": "none"},
    "base_model": "a" * 64,
    "reward_model": {"kind": "image_reward", "files": "c" * 64},
    "prompts": ["a cat", "a dog"],
}


def with_change(path: str, value: Any) -> dict[str, Any]:
    *groups, last = path.split(".")
    changed = {name: dict(v) if isinstance(v, dict) else v for name, v in RECIPE.items()}
    inner = changed
    for group in groups:
        inner[group] = dict(inner[group])
        inner = inner[group]
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rl_training.kl_weight", 0.5, "rl_training.kl_weight was 0.01 and is 0.5"),
        ("rl_training.value.hidden_size", 9, "rl_training.value.hidden_size was 8 and is 9"),
        ("rl_training.baseline", None, 'rl_training.baseline was "none" and is null'),
        ("rl_training.new", 1, "rl_training.new was not there and is 1"),
        ("base_model", "b" * 64, "base_model was aaaaaaaaaaaa… and is bbbbbbbbbbbb…"),
        ("reward_model.files", "d" * 64, "reward_model.files was cccccccccccc… and is dddd"),
        ("reward_model.kind", "mine.x", 'reward_model.kind was "image_reward" and is "mine.x"'),
        ("prompts", ["a cat"], 'prompts: "a dog" is gone'),
        ("prompts", ["a cat", "a dog", "x", "y"], 'prompts: "x" is new with 1 others'),
        ("prompts", ["a cat", "a fox"], 'prompts: "a dog" is gone, "a fox" is new'),
        ("prompts", ["a dog", "a cat"], "prompts: the same in another order"),
    ],
)
def test_a_change_is_named_with_both_ways_out(path: str, value: Any, said: str) -> None:
    changed = with_change(path, value)
    assert fingerprint(changed) != fingerprint(RECIPE)
    with pytest.raises(InputError) as raised:
        check_same(RECIPE, changed, Path("work/step-1"))
    message = str(raised.value)
    assert said in message
    assert message.startswith("work/step-1: ")
    assert "--params resume=never" in message
    assert "put the old value back" in message
    assert "\n" not in message


def test_the_same_in_another_order_of_keys_and_types_is_the_same() -> None:
    again = {name: RECIPE[name] for name in reversed(RECIPE)} | {"prompts": ("a cat", "a dog")}
    check_same(RECIPE, again, Path("work"))
    assert list(changes(RECIPE, again)) == []


def test_many_changes_are_counted_and_long_texts_cut() -> None:
    present = {name: "x" * 500 for name in "abcde"}
    with pytest.raises(InputError, match="and 2 more") as raised:
        check_same({}, present, Path("work"))
    assert len(str(raised.value)) < 500


class Inner(BaseModel):
    rank: int = 4


class Outer(BaseModel):
    inner: Inner = Inner()
    name: str | None = None


def test_nested_and_typed_parameters_get_dotted_names() -> None:
    nested = {"lora": Inner(), "rl": {"value": Outer(), "betas": [1, 2]}, "empty": {}, "seed": 0}
    assert flatten(nested) == {
        "lora.rank": 4,
        "rl.value.inner.rank": 4,
        "rl.value.name": None,
        "rl.betas": [1, 2],
        "empty": {},
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": {}}, {}, "a was {} and is not there"),
        ({"a": {}}, {"a": {"b": 1}}, "a was {} and is not there; a.b was not there and is 1"),
        ({"a": 1}, {"a": 1.0}, "a was 1 and is 1.0"),
        ({"a": True}, {"a": 1}, "a was true and is 1"),
        ({"a": "not there"}, {}, 'a was "not there" and is not there'),
    ],
)
def test_no_difference_goes_unnamed(
    before: dict[str, Any], after: dict[str, Any], said: str
) -> None:
    assert set(changes(before, after)) == set(said.split("; "))
    with pytest.raises(InputError):
        check_same(before, after, Path("work"))


NAMES = st.text("abc", min_size=1, max_size=2)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("xy", max_size=2),
    st.lists(st.integers(0, 2), max_size=3),
)
TREES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3)), max_size=3
)


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return tree


@given(TREES)
def test_flattening_loses_nothing(tree: dict[str, Any]) -> None:
    flat = flatten(tree)
    assert unflatten(flat) == tree
    assert flatten(flat) == flat
    assert not any(isinstance(value, dict) and value for value in flat.values())


@given(TREES, TREES)
def test_changes_are_named_exactly_where_fingerprints_differ(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    named = list(changes(one, other))
    assert bool(named) == (fingerprint(one) != fingerprint(other))
    assert len(named) == len(list(changes(other, one)))
    assert not list(changes(one, one))


@given(TREES, NAMES, LEAVES)
def test_a_new_part_is_the_only_change(tree: dict[str, Any], name: str, leaf: Any) -> None:
    (said,) = changes(tree, {**tree, f"{name}d": leaf})
    assert said.startswith(f"{name}d was not there and is ")
