"""From methods.yml to methods with all their settings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration.methods import resolve_methods
from dpok_pipeline.configuration.names import RESERVED
from dpok_pipeline.errors import InputError

GROUPS: dict[str, Any] = {
    "lora": {"rank": 8},
    "rl_training": {"iterations": 20, "kl_weight": 0.01, "value": {"minibatch": 16}},
    "sft_training": {"updates": 200, "sft_shift": 0.1},
}
ENTRIES: dict[str, Any] = {
    "sft": {"algorithm": "sft", "label": "SFT", "colour": "#d0842a"},
    "dpok": {"algorithm": "dpok", "label": "DPOK", "colour": "#0b5d7a"},
}


def resolve(
    changes: dict[str, Any], overrides: dict[str, Any] | None = None, **groups: Any
) -> dict[str, Method]:
    methods = resolve_methods({**ENTRIES, **changes}, {**GROUPS, **groups}, overrides, ["color"])
    return {method.name: method for method in methods}


def test_the_files_order_is_kept_and_the_groups_are_taken() -> None:
    methods = resolve({})
    assert list(methods) == ["sft", "dpok"]
    assert methods["dpok"].training.iterations == 20
    assert methods["sft"].training.updates == 200
    assert methods["dpok"].lora.rank == 8
    assert (methods["dpok"].label, methods["dpok"].colour) == ("DPOK", "#0b5d7a")
    assert methods["dpok"].online
    assert not methods["sft"].online


def test_what_wins_from_weak_to_strong() -> None:
    changes = {"free": {"like": "dpok", "rl_training": {"kl_weight": 0.0}}}
    # The group holds for both, as `--params rl_training.kl_weight=0.5` does.
    group = {**GROUPS["rl_training"], "kl_weight": 0.5}
    methods = resolve(changes, rl_training=group)
    assert methods["dpok"].training.kl_weight == 0.5
    assert methods["free"].training.kl_weight == 0.0
    override = {"free": {"rl_training": {"kl_weight": 0.7}, "lora": {"rank": 2}}}
    methods = resolve(changes, override, rl_training=group)
    assert methods["free"].training.kl_weight == 0.7
    assert (methods["free"].lora.rank, methods["dpok"].lora.rank) == (2, 8)


def test_a_method_without_description_is_described_by_what_differs() -> None:
    methods = resolve(
        {
            "free": {"like": "dpok", "rl_training": {"kl_weight": 0.0, "value": {"minibatch": 4}}},
            "small": {"like": "free", "label": "Small", "lora": {"rank": 2}},
            "told": {"like": "dpok", "lora": {"rank": 2}, "description": "is told."},
        },
        {"free": {"rl_training": {"iterations": 5}}},
    )
    assert methods["dpok"].description == ""
    assert methods["free"].description == "is DPOK with iterations 5, kl_weight 0.0 and minibatch 4"
    assert methods["told"].description == "is told."
    # What the command line changes is the one method's own; the one like it keeps the file's.
    assert methods["small"].description == "is free with rank 2 and iterations 20"


def test_a_method_like_one_that_is_like_another_has_the_differences_of_both() -> None:
    methods = resolve(
        {
            "free": {"like": "dpok", "label": "Free", "rl_training": {"kl_weight": 0.0}},
            "freer": {"like": "free", "rl_training": {"value": {"hidden_size": 4}}},
        }
    )
    freer = methods["freer"]
    assert freer.training.kl_weight == 0.0
    assert (freer.training.value.hidden_size, freer.training.value.minibatch) == (4, 16)
    # What a method is called is its own.
    assert freer.label == "freer"
    assert freer.colour not in {
        method.colour for name, method in methods.items() if name != "freer"
    }


def test_null_drops_a_method() -> None:
    assert list(resolve({"sft": None})) == ["dpok"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"one": {"like": "two"}, "two": {"like": "one"}}, "one is like two is like one: a circle"),
        ({"one": {"like": "one"}}, "one is like one: a circle"),
        ({"one": {"like": "three"}}, "methods.one.like is 'three': no such method; there are sft"),
        ({"sft": None, "one": {"like": "sft"}}, "methods.one.like is 'sft': no such method"),
        ({"one": {"label": "One"}}, "methods.one: give either `algorithm` or `like`"),
        ({"one": {"like": "sft", "algorithm": "sft"}}, "give either `algorithm` or `like`"),
        ({"one": {"algorithm": "ppo"}}, "methods.one.algorithm is 'ppo': no such algorithm"),
        ({"one": {"algorithm": "sft", "colr": "red"}}, "methods.one.colr: no such field; did you"),
        ({"one": {"algorithm": "sft", "colour": "red"}}, "methods.one.colour is 'red'"),
        ({"one": {"like": "sft", "rl_training": {}}}, "methods.one.rl_training: no such field"),
        ({"one": {"like": "dpok", "rl_training": 3}}, "methods.one.rl_training is 3: expected"),
        (
            {"one": {"like": "dpok", "rl_training": {"kl_weigth": 1}}},
            "conf/*/methods.yml: methods.one.rl_training.kl_weigth: no such parameter",
        ),
        (
            {"one": {"like": "dpok", "rl_training": {"kl_weight": -1}}},
            "conf/*/methods.yml: methods.one.rl_training.kl_weight is -1: ",
        ),
        (
            {"one": {"like": "dpok", "lora": {"rank": 0}}},
            "conf/*/methods.yml: methods.one.lora.rank is 0: ",
        ),
        ({"one": {"like": "dpok"}}, "dpok and one have the same settings"),
        ({"one": 5}, "methods.one: expected fields"),
        ({"sft": None, "dpok": None}, "no method is listed"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve(changes)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", [*sorted(RESERVED), "color", "No", "1st", "a-b", "a.b", "", 5])
def test_names_that_mean_something_else_are_refused(name: Any) -> None:
    with pytest.raises(InputError, match="methods has"):
        resolve({name: {"like": "dpok", "rl_training": {"kl_weight": 0.0}}})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"dpo": {}}, "--params: methods.dpo: no such method; there are sft, dpok"),
        ({"dpok": {"kl_weight": 1}}, "--params: methods.dpok.kl_weight: no such field"),
        ({"dpok": {"rl_training": {"kl_weight": "x"}}}, "--params: methods.dpok.rl_training.kl_w"),
        ({"dpok": 5}, "--params: methods.dpok is 5"),
        (7, "--params: methods is 7"),
    ],
)
def test_overrides_on_the_command_line_are_checked(overrides: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve({}, overrides)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"kl_weigth": 1}, "rl_training.kl_weigth: no such parameter; did you mean kl_weight?"),
        ({"kl_weight": -1, "iterations": 2}, "or --params: rl_training.kl_weight is -1"),
        ({"kl_weight": 0.1}, "rl_training.iterations is missing: set it"),
        (None, "rl_training is None: expected names and values"),
    ],
)
def test_a_wrong_group_is_said_where_it_stands(group: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        resolve({}, rl_training=group)
    assert said in str(raised.value)
    assert "parameters" in str(raised.value)


def test_a_label_or_colour_makes_no_other_method() -> None:
    plain, named = resolve({})["dpok"], resolve({"dpok": {"algorithm": "dpok", "label": "D"}})
    assert plain.numbers() == named["dpok"].numbers()


def test_a_method_comes_back_from_its_dump() -> None:
    for method in resolve({}).values():
        assert Method.model_validate(method.model_dump()) == method


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_chain_in_any_order_has_the_last_differences(
    order: list[str], weights: list[float]
) -> None:
    """Whatever the order in the file: each method has its own weight and its ancestors' rank."""
    links = {"a": "dpok", "b": "a", "c": "b", "d": "c"}
    weight = dict(zip("abcd", weights, strict=True))
    entries = {
        name: {"like": links[name], "rl_training": {"kl_weight": weight[name]}, "lora": {"rank": n}}
        for n, name in enumerate(order, start=1)
    }
    methods = resolve(entries)
    for name in order:
        assert methods[name].training.kl_weight == weight[name]
        assert methods[name].lora.rank == order.index(name) + 1


@pytest.mark.parametrize("group", ["lora", "rl_training"])
def test_a_group_that_no_file_has_is_named(group: str) -> None:
    groups = {name: fields for name, fields in GROUPS.items() if name != group}
    with pytest.raises(InputError, match=f"{group} is None: expected names and values"):
        resolve_methods(ENTRIES, groups, None, ["color"])
