"""The parts of `make stress` that judge: they must see a difference where there is one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from benchmarks.stress import __main__ as stress
from benchmarks.stress import disk, kills
from benchmarks.stress.budgets import KINDS, SMALL, demo
from benchmarks.stress.disk import Unavailable
from benchmarks.stress.processes import listed_shards, results, whole_state

from dpok_pipeline.files.shards import ShardStore
from dpok_pipeline.training.checkpoints import CheckpointStore
from dpok_pipeline.training.config import CheckpointConfig


def test_whole_checkpoints_are_told_from_damaged_ones(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", {}, CheckpointConfig())
    store.save(1, {})
    store.save(2, {})
    assert whole_state(tmp_path) == ["step-00000001", "step-00000002"]
    (tmp_path / "checkpoints" / "step-00000002" / "state.json").write_text("{}")
    assert whole_state(tmp_path) == ["step-00000001"]


def test_whole_shards_are_told_from_damaged_and_unlisted_ones(tmp_path: Path) -> None:
    store = ShardStore(tmp_path, {})
    for number in range(3):
        store.write(number, range(number, number + 1), pd.DataFrame({"index": [number]}))
    # They count while the folder is unfinished: this is what a killed process leaves.
    assert whole_state(tmp_path) == ["shard-00000", "shard-00001", "shard-00002"]
    shards = [tmp_path / f"shard-{number:05d}.parquet" for number in range(4)]
    shards[1].write_bytes(shards[1].read_bytes()[:-1] + b"?")
    shards[2].unlink()
    shards[3].write_bytes(shards[0].read_bytes())
    assert whole_state(tmp_path) == ["shard-00000"]
    assert listed_shards(tmp_path) == [path.name for path in shards[:3]]
    assert listed_shards(tmp_path / "nothing") == []


def test_a_full_disk_must_spoil_no_shard_nor_the_newest_checkpoint() -> None:
    first, second = ["shard-00000", "shard-00001"], ["shard-00001"]
    assert disk._is_still_whole("generation", second, first)
    assert not disk._is_still_whole("generation", first, second)
    assert disk._is_still_whole("sft", ["step-00000003"], ["step-00000004"])
    assert not disk._is_still_whole("sft", ["step-00000003"], ["step-00000002"])
    assert not disk._is_still_whole("dpok", ["step-00000003"], [])
    assert disk._is_still_whole("dpok", [], [])


def test_every_kind_but_generation_is_a_method_of_each_budget() -> None:
    assert set(KINDS) - {"generation"} == set(SMALL.methods)
    assert set(SMALL.methods) <= set(demo().methods)
    assert SMALL.with_images(7).generation.images == 7


class FakeWorker:
    """Leaves a LoRA whose weights are the number of starts, or always the same."""

    starts = 0

    def __init__(self, same: bool) -> None:
        self.same = same

    def start(self, kind: str, folder: Path, *options: str) -> dict[str, Any]:
        self.starts += 1
        weights = folder / "lora" / "pytorch_lora_weights.safetensors"
        weights.parent.mkdir(parents=True)
        weights.write_text("weights" if self.same else str(self.starts))
        return {"seconds": 1.0, "start_seconds": 1.0}


@pytest.mark.parametrize("same", [True, False])
def test_other_bytes_after_a_kill_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.setattr(kills, "run_to_the_end", FakeWorker(same).start)
    monkeypatch.setattr(kills, "_start_and_kill", lambda *arguments: True)
    outcome = kills.kill_and_restart("dpok", tmp_path, kills=3, seed=0)
    assert outcome["kills"] == 3
    assert outcome["passed"] == same
    assert outcome["bit_identical_runs"] == int(same)


def test_results_are_the_lora_and_the_shards(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.parquet").write_bytes(b"one")
    (tmp_path / "shard-00000.json").write_bytes(b"two")
    assert list(results(tmp_path)) == ["shard-00000.parquet"]


def test_finished_cases_are_not_done_again_and_skipped_ones_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def unavailable(kind: str, folder: Path, times: int, seed: int) -> dict[str, Any]:
        calls.append(kind)
        raise Unavailable("no tmpfs: permission denied")

    monkeypatch.setattr(stress, "fill_disk", unavailable)
    file = tmp_path / "stress.json"
    monkeypatch.setattr(sys, "argv", ["stress", "disk", "--kinds", "dpok", "--results", str(file)])
    assert stress.main() == 0
    assert stress.main() == 0
    assert calls == ["dpok"]
    assert json.loads(file.read_text())["disk dpok"]["skipped"] == "no tmpfs: permission denied"
    assert "disk dpok: done already" in capsys.readouterr().out
    file.write_text(json.dumps({**json.loads(file.read_text()), "other": {"passed": True}}))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--fresh"])
    assert stress.main() == 0
    assert calls == ["dpok", "dpok"]
    assert "other" in json.loads(file.read_text())


def test_a_disk_that_cannot_be_mounted_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="no tmpfs"), disk.small_disk(tmp_path):
        pass
