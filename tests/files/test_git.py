from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dpok_pipeline.files.git import Commit, describe_commit, describe_run_commit


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of one file."""
    git(tmp_path, "init")
    (tmp_path / "a").write_text("one")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--message", "one")
    return tmp_path


def test_a_checkout_names_its_commit(checkout: Path) -> None:
    sha = git(checkout, "rev-parse", "HEAD")
    assert len(sha) == 40
    assert describe_commit(checkout) == Commit(sha, dirty=False)


@pytest.mark.parametrize("name", ["a", "new"])
def test_a_changed_or_new_file_makes_it_dirty(checkout: Path, name: str) -> None:
    (checkout / name).write_text("two")
    commit = describe_commit(checkout)
    assert commit is not None
    assert commit.dirty


def test_what_the_code_has_made_does_not_make_it_dirty(checkout: Path) -> None:
    (checkout / "results").mkdir()
    (checkout / "results" / "row").write_text("1")
    sha = git(checkout, "rev-parse", "HEAD")
    assert describe_commit(checkout, results=Path("results")) == Commit(sha, dirty=False)
    (checkout / "results-of-code").write_text("2")
    assert describe_commit(checkout, results=Path("results")) == Commit(sha, dirty=True)


def test_no_commit_outside_git_or_without_git(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    assert describe_commit(outside) is None
    monkeypatch.setenv("PATH", "")
    assert describe_commit(checkout) is None


def test_settings_that_git_ignores_are_changes_of_the_runs_that_read_them(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("conf/local/**\n")
    git(checkout, "add", ".gitignore")
    git(checkout, "commit", "--quiet", "--message", "ignore")
    local = checkout / "conf" / "local"
    local.mkdir(parents=True)
    (local / "credentials.yml").write_text("mlflow: {}\n")
    (local / "mlflow.yml").write_text("server: {}\n")

    def dirty(env: str | None) -> bool:
        commit = describe_run_commit(checkout, env)
        assert commit is not None
        return commit.dirty

    assert not dirty(None)
    (local / "parameters_mine.yml").write_text("rl_training: {kl_weight: 0.5}\n")
    assert dirty(None)
    assert dirty("local")
    assert not dirty("paper")
    (local / "parameters_mine.yml").rename(local / "parameters_mine.json")  # which Kedro reads, too
    assert dirty(None)
    (local / "parameters_mine.json").unlink()
    (local / "deeper").mkdir()
    (local / "deeper" / "catalog.yml").write_text("scorers: {}\n")
    assert dirty(None)
