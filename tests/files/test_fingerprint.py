from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.fingerprint import changes, check_same, fingerprint

MADE_BY: dict[str, Any] = {
    "rl_training": {"kl_weight": 0.01, "value": {"hidden_size": 8}, "baseline": "none"},
    "base_model": "a" * 64,
    "reward_model": {"kind": "image_reward", "files": "c" * 64},
    "prompts": ["a cat", "a dog"],
}


def with_change(path: str, value: Any) -> dict[str, Any]:
    *groups, last = path.split(".")
    changed = {name: dict(v) if isinstance(v, dict) else v for name, v in MADE_BY.items()}
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
    assert fingerprint(changed) != fingerprint(MADE_BY)
    with pytest.raises(InputError) as raised:
        check_same(MADE_BY, changed, Path("work/step-1"))
    message = str(raised.value)
    assert said in message
    assert message.startswith("work/step-1: ")
    assert "--params resume=never" in message
    assert "put the old value back" in message
    assert "\n" not in message


def test_the_same_in_another_order_of_keys_and_types_is_the_same() -> None:
    again = {name: MADE_BY[name] for name in reversed(MADE_BY)} | {"prompts": ("a cat", "a dog")}
    check_same(MADE_BY, again, Path("work"))
    assert list(changes(MADE_BY, again)) == []


def test_many_changes_are_counted_and_long_texts_cut() -> None:
    present = {name: "x" * 500 for name in "abcde"}
    with pytest.raises(InputError, match="and 2 more") as raised:
        check_same({}, present, Path("work"))
    assert len(str(raised.value)) < 500
