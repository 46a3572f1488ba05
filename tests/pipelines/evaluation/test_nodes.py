from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.evaluation.nodes import compare_models
from dpok_pipeline.pipelines.evaluation.reporting import compare_experiments
from dpok_pipeline.training.tracking import NullTracker

CONFIG = EvaluationConfig(images_per_prompt=8, seed=1, batch_size=8, replicates=100)


class Recorder(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log(self, metrics, step) -> None:
        self.metrics |= metrics


def scores(experiment: str) -> pd.DataFrame:
    """DPOK one point above SFT, SFT one above the base model."""
    noise = np.random.default_rng(0).normal(size=8)
    frames = [
        pd.DataFrame(
            {
                "experiment": experiment,
                "prompt_id": split,
                "prompt": f"{experiment} {split}",
                "split": split,
                "model": model,
                "index": range(8),
                "image_reward": noise + level,
            }
        )
        for split in ("train", "unseen")
        for level, model in enumerate(("base", "sft", "rl"))
    ]
    return pd.concat(frames, ignore_index=True)


def embeddings(rows: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(1).normal(size=(rows, 4)))


def part(experiment: str) -> ReportParts:
    return ReportParts(experiment, scores(experiment), embeddings(48), {}, [], {"Run": {}})


def test_levels_are_metrics_and_claims_are_judged() -> None:
    tracker = Recorder()
    comparison, claims = compare_models(scores("color"), embeddings(48), CONFIG, tracker)
    levels = tracker.metrics
    gain = levels["evaluation/train/rl/image_reward"] - levels["evaluation/train/base/image_reward"]
    assert gain == pytest.approx(2)
    assert (claims.set_index("claim").loc["reward_above_sft", "verdict"]) == "holds"
    assert "rl - sft" in set(comparison["quantity"])


def test_experiments_that_are_not_there_are_left_out() -> None:
    comparison, _ = compare_experiments(CONFIG, Recorder(), part("color"), None, part("count"))
    assert set(comparison["experiment"]) == {"color", "count", "all"}


def test_no_experiment_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="run evaluation first"):
        compare_experiments(CONFIG, Recorder(), None, None)
