"""One training by several processes: the slices decide its bits, the processes do not."""

from __future__ import annotations

from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import SOLO
from dpok_pipeline.team.slices import Slices
from tests import forked
from tests.algorithms.support import lora_bytes, run_dpok, small_config
from tests.team import member

# In the process of xdist whose forks have imported everything.
pytestmark = pytest.mark.xdist_group("processes")

WEIGHTS = Path("lora", "pytorch_lora_weights.safetensors")


def start(rank: int, size: int, folder: Path, model: Path, *tasks: Task) -> BaseProcess:
    """Start one member of a team, whose store is a file beside its work folders."""
    said = {
        "rank": rank,
        "size": size,
        "address": f"file://{folder}.store",
        "model": str(model),
        "tasks": [
            {
                "algorithm": task.algorithm,
                "reward": task.reward,
                "changes": task.changes,
                "work": str(folder / task.name),
            }
            for task in tasks
        ],
    }
    return forked.start(words_of(folder, rank), member.work, said)


def words_of(folder: Path, rank: int) -> Path:
    """The file of what a member says."""
    return Path(f"{folder}.{rank}.txt")


def run(size: int, folder: Path, model: Path, *tasks: Task) -> list[tuple[int | None, str]]:
    """Run a team to its end; return exit status and last line of each member."""
    members = [start(rank, size, folder, model, *tasks) for rank in range(size)]
    ends = []
    for rank, process in enumerate(members):
        process.join(timeout=120)
        words = words_of(folder, rank).read_text()
        ends.append((process.exitcode, words.strip().rpartition("\n")[2]))
    return ends


class Task(NamedTuple):
    """One small training."""

    name: str
    changes: dict[str, Any]
    algorithm: str = "dpok"
    reward: str = "brightness"


FOUR = Task("four", {"slices": 4})
SHARED = (
    FOUR,
    Task("sft", {"slices": 2}, algorithm="sft"),
    Task("rwr", {"slices": 2}, algorithm="rwr"),
    # Also a reward that draws at random gives the same numbers, whoever asks it; and images without
    # a reward have the mean of all slices.
    Task(
        "partial",
        {"slices": 2, "images_per_iteration": 8, "baseline": "prompt_mean"},
        reward="partial",
    ),
    Task("recomputed", {"slices": 2, "recompute_log_probs": True, "microbatch": 3}),
)
LONGER = Task("longer", {"slices": 2, "iterations": 3})
SHORTER = Task("longer", {"slices": 2, "iterations": 2})


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of all the tasks."""
    folder = tmp_path_factory.mktemp("alone")
    [(status, line)] = run(1, folder, tiny_model_folder, *SHARED, LONGER)
    assert status == 0, line
    return folder


def weights(folder: Path, task: Task) -> bytes:
    return (folder / task.name / WEIGHTS).read_bytes()


def test_two_workers_give_the_same_bytes(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pair"
    # The last is continued: first by two, then by one.
    ends = run(2, folder, tiny_model_folder, *SHARED, SHORTER)
    assert [status for status, _ in ends] == [0, 0], ends
    for task in SHARED:
        assert weights(folder, task) == weights(alone, task), task.name
    assert run(1, folder, tiny_model_folder, LONGER)[0][0] == 0
    assert weights(folder, LONGER) == weights(alone, LONGER)


@pytest.mark.stress
def test_four_workers_give_the_same_bytes_and_take_over_from_one(
    tiny_model_folder: Path, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "four"
    begun = Task(FOUR.name, {**FOUR.changes, "iterations": 1})
    assert run(1, folder, tiny_model_folder, begun)[0][0] == 0
    ends = run(4, folder, tiny_model_folder, FOUR)
    assert [status for status, _ in ends] == [0] * 4, ends
    assert weights(folder, FOUR) == weights(alone, FOUR)


@pytest.mark.stress
def test_what_one_member_meets_all_say(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = Task("faulty", {"slices": 2}, reward="faulty")
    for status, line in run(2, tmp_path / "work", tiny_model_folder, task):
        assert status == 1
        assert line.startswith("InputError: ")
        assert "no more credit" in line


@pytest.mark.stress
def test_a_killed_member_ends_the_others(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = Task("endless", {"slices": 2, "iterations": 100_000})
    folder = tmp_path / "work"
    members = [start(rank, 2, folder, tiny_model_folder, task) for rank in range(2)]
    checkpoints = folder / task.name / "checkpoints"
    while not checkpoints.is_dir() or len([*checkpoints.iterdir()]) < 2:
        assert members[0].exitcode is None
    members[1].kill()
    members[0].join(timeout=20)
    assert members[0].exitcode not in (None, 0)
    assert [*checkpoints.iterdir()]


def test_one_slice_is_a_run_that_is_not_cut(tiny_model: DiffusionModel, tmp_path: Path) -> None:
    assert "slices" not in small_config().numbers()
    assert small_config(slices=2).numbers()["slices"] == 2
    one = run_dpok(tiny_model, tmp_path / "one")
    cut = run_dpok(tiny_model, tmp_path / "cut", slices=2)
    # Rounding alone differs: the rewards of the first rollout are nearly the same.
    torch.testing.assert_close(
        one.curves["reward/mean"][0], cut.curves["reward/mean"][0], rtol=1e-4, atol=1e-4
    )
    assert lora_bytes(one) != lora_bytes(cut)


def test_the_first_gradient_of_slices_is_that_of_the_whole(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    changes = {"iterations": 1, "updates_per_iteration": 1}
    norms = [
        run_dpok(tiny_model, tmp_path / str(slices), slices=slices, **changes).curves["grad/norm"][
            0
        ]
        for slices in (1, 2, 4)
    ]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_slices_that_do_not_come_out_are_refused() -> None:
    with pytest.raises(ValueError, match="slices 3 does not divide images_per_iteration 4"):
        DPOKConfig(iterations=1, images_per_iteration=4, slices=3)

    class Pair:
        rank, size = 0, 2
        gather = share = collect = SOLO.share

    with pytest.raises(InputError, match="3 slices cannot be shared by 2 workers"):
        Slices(3, Pair()).check()


def test_rows_are_mapped_slice_by_slice() -> None:
    rows = torch.arange(7)
    assert Slices(3).map(lambda part: part + 1, rows).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert [len(part) for part in Slices(3).parts(rows)] == [3, 2, 2]
    assert Slices(3).add([torch.ones(2)] * 3).tolist() == [3, 3]
