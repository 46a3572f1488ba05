from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dpok_pipeline.pipelines.models import ComputeConfig
from dpok_pipeline.pipelines.rl_training import measures
from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.load import ScorerConfig
from tests.algorithms.support import Brightness
from tests.rewards.conftest import write_clip
from tests.small_memory import SmallMemory

SCORERS = {"aesthetic": ScorerConfig(kind="aesthetic", path="unread")}


def test_networks_get_less_when_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, scorer = ClipEmbedder.from_folder(write_clip(tmp_path)), Brightness()
    monkeypatch.setattr(ClipEmbedder, "from_folder", lambda folder: clip)
    monkeypatch.setattr(measures, "open_scorer", lambda scorer_config, compute: scorer)
    found = measures.make_measures(SCORERS, tmp_path, ComputeConfig(device="cpu"))
    images, prompts = torch.rand(5, 3, 16, 16), ["A cat."] * 5
    expected = {name: measure(images, prompts) for name, measure in found.items()}
    embed, score = SmallMemory(clip.embed, 2), SmallMemory(scorer.score, 2)
    monkeypatch.setattr(clip, "embed", embed)
    monkeypatch.setattr(scorer, "score", score)
    for name, measure in found.items():
        torch.testing.assert_close(measure(images, prompts), expected[name], rtol=1e-4, atol=1e-5)
    assert embed.refused == score.refused == [5, 3]
