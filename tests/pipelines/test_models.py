"""What nodes share on the way from the catalog to the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.rewards.load import ScorerConfig

OWN = "def score(images, prompts):\n    return images.mean((1, 2, 3))\n"


@pytest.fixture
def own_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "own_reward_of_a_test.py"
    module.write_text(OWN)
    return module


def test_a_scorer_is_what_its_specification_files_and_module_say(own_reward: Path) -> None:
    folder = own_reward.parent / "files"
    folder.mkdir()
    (folder / "weights").write_text("1")
    spec = ScorerConfig(kind="own_reward_of_a_test.score", path="files")
    without = spec.model_copy(update={"path": None})
    seen = {str(scorer_identity(spec)), str(scorer_identity(without))}
    (folder / "weights").write_text("2")
    seen.add(str(scorer_identity(spec)))
    own_reward.write_text(OWN.replace("mean", "amax"))
    seen.add(str(scorer_identity(spec)))
    assert len(seen) == 4


def test_files_that_a_scorer_does_not_name_do_not_matter(own_reward: Path) -> None:
    spec = ScorerConfig(kind="own_reward_of_a_test.score")
    before = scorer_identity(spec)
    (own_reward.parent / "other").write_text("x")
    assert scorer_identity(spec) == before
