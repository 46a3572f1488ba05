from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.diversity import IMAGE
from dpok_pipeline.pipelines.evaluation.config import EvaluationConfig
from dpok_pipeline.pipelines.evaluation.nodes import compare_models
from dpok_pipeline.pipelines.evaluation.reporting import compare_experiments, gather_report_parts
from dpok_pipeline.training.tracking import NullTracker

CONFIG = EvaluationConfig(images_per_prompt=8, seed=1, batch_size=8, replicates=100)


class Recorder(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log(self, metrics, step) -> None:
        self.metrics |= metrics


def scores(experiment: str, drawn: str = "first") -> pd.DataFrame:
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
                "image_sha256": [f"{experiment} {split} {model} {i} {drawn}" for i in range(8)],
                "image_reward": noise + level,
            }
        )
        for split in ("train", "unseen")
        for level, model in enumerate(("base", "sft", "rl"))
    ]
    return pd.concat(frames, ignore_index=True)


def embeddings(scored: pd.DataFrame) -> pd.DataFrame:
    """Those of the base model alike, the others spread."""
    vectors = np.random.default_rng(1).normal(size=(len(scored), 4))
    vectors[scored["model"] == "base"] = 1
    return pd.concat([scored[IMAGE], pd.DataFrame(vectors)], axis=1)


def part(experiment: str) -> ReportParts:
    scored = scores(experiment)
    return gather_report_parts(
        experiment, scored, embeddings(scored)[::-1], None, None, None, None, {"Run": {}}
    )


def test_levels_are_metrics_and_claims_are_judged() -> None:
    tracker = Recorder()
    scored = scores("color")
    comparison, claims = compare_models(scored, embeddings(scored), CONFIG, tracker)
    levels = tracker.metrics
    gain = levels["evaluation/train/rl/image_reward"] - levels["evaluation/train/base/image_reward"]
    assert gain == pytest.approx(2)
    assert (claims.set_index("claim").loc["reward_above_sft", "verdict"]) == "holds"
    assert "rl - sft" in set(comparison["quantity"])


def diversities(comparison: pd.DataFrame) -> dict[tuple[str, str], float]:
    rows = comparison[comparison["metric"] == "diversity"]
    rows = rows[rows["experiment"] != "all"]
    return dict(zip(zip(rows["prompt"], rows["quantity"], strict=True), rows["mean"], strict=True))


def test_embeddings_are_joined_by_image_and_not_by_row() -> None:
    scored = scores("color")
    found = [
        diversities(compare_models(scored, rows, CONFIG, Recorder())[0])
        for rows in (embeddings(scored), embeddings(scored)[::-1])
    ]
    found.append(diversities(compare_experiments(CONFIG, Recorder(), part("color"))[0]))
    assert found[0]["color train", "base"] == pytest.approx(0)
    assert found[0]["color train", "rl"] > 0.5
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])


@pytest.mark.parametrize(
    "other",
    [
        embeddings(scores("color", drawn="second")),
        embeddings(scores("color"))[:-1],
        embeddings(scores("color")).drop(columns=IMAGE),
    ],
    ids=["another evaluation", "too few", "of an earlier release"],
)
def test_embeddings_of_other_images_are_refused(other: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"embeddings: \d+ rows, of which \d+ are of the 48"):
        compare_models(scores("color"), other, CONFIG, Recorder())


def test_experiments_that_are_not_there_are_left_out() -> None:
    comparison, _ = compare_experiments(CONFIG, Recorder(), part("color"), None, part("count"))
    assert set(comparison["experiment"]) == {"color", "count", "all"}


def test_no_experiment_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="run evaluation first"):
        compare_experiments(CONFIG, Recorder(), None, None)
