from __future__ import annotations

import errno
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from dpok_pipeline.errors import InputError
from dpok_pipeline.training import checkpoints
from dpok_pipeline.training.checkpoints import CheckpointStore, pack, unpack
from dpok_pipeline.training.config import CheckpointConfig
from dpok_pipeline.training.randomness import capture_states, restore_states


def state(number: int) -> dict[str, Any]:
    return {"weights": [torch.full((3,), float(number))], "curves": [{"reward/mean": 0.1}]}


RECIPE = {"rl_training": {"seed": 1}, "prompts": ["a cat"]}


def store(folder: Path, recipe: dict[str, Any] = RECIPE, **options: Any) -> CheckpointStore:
    resume = options.pop("resume", "auto")
    return CheckpointStore(folder, recipe, CheckpointConfig(**options), resume)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_last_ones_are_kept_and_the_newest_is_found(tmp_path: Path, kept: int) -> None:
    written = store(tmp_path, checkpoints_kept=kept)
    assert written.load_newest(at_most=9) is None
    for step in range(1, 5):
        written.save(step, state(step))
    assert names(tmp_path) == [f"step-{step:08d}" for step in range(5 - kept, 5)]
    found = store(tmp_path).load_newest(at_most=9)
    assert found is not None
    assert found[0] == 4
    assert found[1]["weights"][0].tolist() == [4, 4, 4]
    assert found[1]["curves"] == [{"reward/mean": 0.1}]


def test_a_shortened_run_takes_an_earlier_one(tmp_path: Path) -> None:
    written = store(tmp_path)
    written.save(1, state(1))
    written.save(2, state(2))
    found = written.load_newest(at_most=1)
    assert found is not None
    assert found[0] == 1


def test_only_safetensors_and_json_are_written(tmp_path: Path) -> None:
    store(tmp_path).save(1, state(1))
    (folder,) = tmp_path.iterdir()
    assert names(folder) == ["_manifest.json", "state.json", "tensors.safetensors"]
    assert list(load_file(folder / "tensors.safetensors")) == ["000000"]


FILES = ("tensors.safetensors", "state.json", "_manifest.json")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "flipped bit": flip_a_bit,
    "missing": lambda path: path.unlink(),
    "swapped": lambda path: path.write_bytes(
        (path.parents[1] / "step-00000001" / path.name).read_bytes()
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_newest_is_named_and_the_one_before_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    written = store(tmp_path)
    written.save(1, state(1))
    written.save(2, state(2))
    DAMAGE[damage](tmp_path / "step-00000002" / file)
    with caplog.at_level(logging.WARNING):
        found = written.load_newest(at_most=9)
    assert found is not None
    assert found[0] == 1
    assert found[1]["weights"][0].tolist() == [1, 1, 1]
    assert "step-00000002" in caplog.text
    assert "taking the checkpoint before" in caplog.text


def test_a_whole_checkpoint_under_another_steps_name_is_refused(tmp_path: Path) -> None:
    store(tmp_path).save(1, state(1))
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000007")
    with pytest.raises(InputError, match=r"step-00000007: holds the checkpoint of step 1"):
        store(tmp_path).load_newest(at_most=9)


def test_where_all_are_damaged_the_run_stops_and_names_the_way_out(tmp_path: Path) -> None:
    store(tmp_path).save(1, state(1))
    flip_a_bit(tmp_path / "step-00000001" / "tensors.safetensors")
    with pytest.raises(InputError, match=r"tensors\.safetensors: damaged.*resume=never"):
        store(tmp_path).load_newest(at_most=9)
    assert store(tmp_path, resume="never").load_newest(at_most=9) is None


def test_a_damaged_later_one_does_not_push_out_whole_ones(tmp_path: Path) -> None:
    written = store(tmp_path)
    for step in (1, 2, 3):
        written.save(step, state(step))
    flip_a_bit(tmp_path / "step-00000003" / "state.json")
    written.save(2, state(2))
    assert names(tmp_path) == ["step-00000002", "step-00000003"]
    found = written.load_newest(at_most=9)
    assert found is not None
    assert found[0] == 2


def test_unfinished_writes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "partial-00000007").mkdir()
    assert store(tmp_path).load_newest(at_most=9) is None
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = store(tmp_path)
    written.save(1, state(1))
    before = (tmp_path / "step-00000001" / "tensors.safetensors").read_bytes()

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:5])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "write_durably", full)
    with pytest.raises(OSError, match="No space left"):
        written.save(2, state(2))
    assert names(tmp_path) == ["step-00000001"]
    assert (tmp_path / "step-00000001" / "tensors.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({"checkpoint_minutes": None, "checkpoint_every": 2}, [2, 4]),
        ({"checkpoint_minutes": None}, []),
        ({"checkpoint_minutes": 5.0}, [3]),  # 110 s each: 330 s at the third
        ({"checkpoint_minutes": 5.0, "checkpoint_every": 2}, [2, 4]),  # each save starts anew
    ],
)
def test_saves_by_steps_and_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], saved: list[int]
) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    written = store(tmp_path, checkpoints_kept=9, **options)
    for step in range(1, 6):
        now[0] += 110
        written.save_if_due(step, lambda: state(0))
    assert names(tmp_path) == [f"step-{step:08d}" for step in saved]
    written.save_if_due(6, lambda: state(6), at_once=True)
    assert "step-00000006" in names(tmp_path)


def test_the_time_that_saving_takes_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: float(next(ticks)))
    written = store(tmp_path)
    written.save(1, state(1))
    written.save(2, state(2))
    assert written.seconds_spent() == 2
    assert written.seconds_spent() == 0


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
