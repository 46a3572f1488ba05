from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpok_pipeline.training.checkpoints import CheckpointStore, fingerprint
from dpok_pipeline.training.packing import pack, unpack
from dpok_pipeline.training.randomness import capture_states, prompt_numbers, restore_states


def state(number: int) -> dict[str, Any]:
    return {"weights": [torch.full((3,), float(number))], "curves": [{"reward/mean": 0.1}]}


def test_last_two_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "abc")
    assert store.load_newest(at_most=9) is None
    for step in (1, 2, 3):
        store.save(step, state(step))
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == [
        "step-00000002",
        "step-00000003",
    ]
    found = CheckpointStore(tmp_path, "abc").load_newest(at_most=9)
    assert found is not None
    assert found[0] == 3
    assert found[1]["weights"][0].tolist() == [3, 3, 3]
    shortened = store.load_newest(at_most=2)
    assert shortened is not None
    assert shortened[0] == 2


@pytest.mark.parametrize("damage", ["truncate", "json", "missing", "empty"])
def test_damaged_newest_falls_back(tmp_path: Path, damage: str) -> None:
    store = CheckpointStore(tmp_path, "abc")
    store.save(1, state(1))
    store.save(2, state(2))
    newest = tmp_path / "step-00000002"
    if damage == "truncate":
        tensors = newest / "tensors.safetensors"
        tensors.write_bytes(tensors.read_bytes()[:-3])
    elif damage == "json":
        (newest / "state.json").write_text('{"fingerprint": ')
    elif damage == "missing":
        (newest / "tensors.safetensors").unlink()
    else:
        (newest / "state.json").write_text("{}")
    found = store.load_newest(at_most=9)
    assert found is not None
    assert found[0] == 1


def test_unfinished_writes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "partial-00000007").mkdir()
    assert CheckpointStore(tmp_path, "abc").load_newest(at_most=9) is None
    assert list(tmp_path.iterdir()) == []


def test_other_runs_checkpoints_are_not_used(tmp_path: Path) -> None:
    CheckpointStore(tmp_path, "abc").save(1, state(1))
    assert CheckpointStore(tmp_path, "other").load_newest(at_most=9) is None
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_follows_every_part() -> None:
    parts: dict[str, Any] = {"seed": 1, "prompts": ["a", "b"]}
    assert fingerprint(parts) == fingerprint({"prompts": ["a", "b"], "seed": 1})
    assert fingerprint(parts) != fingerprint({**parts, "seed": 2})


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_packing_survives_json(tree: object) -> None:
    assert unpack(json.loads(json.dumps(pack(tree, {}))), {}) == tree


def test_packing_of_an_optimiser() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimiser.step()
    tensors: dict[str, torch.Tensor] = {}
    saved = json.loads(json.dumps(pack(optimiser.state_dict(), tensors)))
    other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    other.load_state_dict(unpack(saved, tensors))
    for key, value in optimiser.state_dict()["state"][0].items():
        assert torch.equal(other.state_dict()["state"][0][key], value)


def test_global_random_states_return() -> None:
    saved = json.loads(json.dumps(pack(capture_states(), tensors := {})))

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    expected = draws()
    draws()
    restore_states(unpack(saved, tensors))
    assert draws() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100), st.integers(1, 7), st.integers(0, 50), st.integers(1, 20))
def test_prompts_come_evenly_and_resume_anywhere(
    seed: int, prompts: int, start: int, count: int
) -> None:
    whole = prompt_numbers(seed, prompts, 0, start + count).tolist()
    assert prompt_numbers(seed, prompts, start, count).tolist() == whole[start:]
    for epoch in range((start + count) // prompts):
        assert sorted(whole[epoch * prompts : (epoch + 1) * prompts]) == list(range(prompts))
