from __future__ import annotations

import subprocess
from pathlib import Path

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.files.git import describe_commit
from dpok_pipeline.runs.identity import flatten


class Inner(FrozenConfig):
    rank: int = 4


class Group(FrozenConfig):
    lora: Inner = Inner()
    seed: int = 0


def test_typed_and_nested_parameters_get_dotted_names() -> None:
    assert flatten({"rl": Group(), "color": {"experiment": "color"}}) == {
        "rl.lora.rank": 4,
        "rl.seed": 0,
        "color.experiment": "color",
    }


def test_a_folder_outside_git_has_no_commit(tmp_path: Path) -> None:
    assert describe_commit(tmp_path) == {}


def test_a_checkout_has_its_commit_and_says_whether_it_is_clean(tmp_path: Path) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), (*identity, "commit", "-q", "--allow-empty", "-m", "Begin")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = describe_commit(tmp_path)
    assert len(clean["git.sha"]) == 40
    assert clean["git.dirty"] == "false"
    (tmp_path / "new.txt").write_text("")
    assert describe_commit(tmp_path) == {**clean, "git.dirty": "true"}
