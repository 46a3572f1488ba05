"""The nodes that compare what was scored method by method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ClaimConfig, ComparisonConfig, EvaluationConfig
from dpok_pipeline.evaluation.diversity import IMAGE
from dpok_pipeline.evaluation.names import BASE, MethodLabel
from dpok_pipeline.pipelines.evaluation.nodes import compare_and_judge, compare_methods
from dpok_pipeline.pipelines.evaluation.reporting import (
    _joint_provenance,
    compare_experiments,
    gather_report_parts,
)
from dpok_pipeline.pipelines.evaluation.tables import join_methods
from dpok_pipeline.pipelines.task import Task
from tests.report.pictures.test_strips import filmstrip

CONFIG = EvaluationConfig(images_per_prompt=8, seed=1, batch_size=8, replicates=100)
METHODS = (BASE, MethodLabel("sft", "SFT", "#d0842a"), MethodLabel("dpok", "DPOK", "#0b5d7a"))
CLAIM = ClaimConfig(statement="Higher.", metric="reward", split="train", better="dpok", worse="sft")
COMPARISON = ComparisonConfig(methods=METHODS, claims={"reward_above_sft": CLAIM})


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.metrics |= metrics


def scores(experiment: str, drawn: str = "first", recipe: str = "one") -> list[pd.DataFrame]:
    """DPOK one point above SFT, SFT one above the base model: a table for each."""
    noise = np.random.default_rng(0).normal(size=8)
    tables = []
    for level, method in enumerate(METHODS):
        rows = [
            pd.DataFrame(
                {
                    "experiment": experiment,
                    "prompt_id": split,
                    "prompt": f"{experiment} {split}",
                    "split": split,
                    "method": method.name,
                    "index": range(8),
                    "image_sha256": [f"{split} {method.name} {i} {drawn}" for i in range(8)],
                    "recipe": recipe,
                    "image_reward": noise + level,
                }
            )
            for split in ("train", "unseen")
        ]
        tables.append(pd.concat(rows, ignore_index=True))
    return tables


def embeddings(scored: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Those of the base model alike, the others spread."""
    random = np.random.default_rng(1)
    tables = []
    for table in scored:
        vectors = random.normal(size=(len(table), 4))
        if table["method"].iloc[0] == "base":
            vectors[:] = 1
        tables.append(pd.concat([table[IMAGE], pd.DataFrame(vectors)], axis=1))
    return tables


def turned(tables: list[pd.DataFrame]) -> list[pd.DataFrame]:
    return [table[::-1] for table in tables]


def compared(*tables: pd.DataFrame) -> pd.DataFrame:
    return compare_methods(CONFIG, COMPARISON, Task(experiment="color"), *tables)[0]


def part(experiment: str, recipe: str = "one") -> ReportParts:
    scored = scores(experiment, recipe=recipe)
    curves = [pd.DataFrame({"step": [1]}), pd.DataFrame({"step": [1]})]
    return gather_report_parts(
        COMPARISON, Task(experiment=experiment), pd.DataFrame(), {"Run": {}},
        *scored, *turned(embeddings(scored)), *curves, None, filmstrip(),
    )  # fmt: skip


def test_a_method_without_a_filmstrip_has_no_strip() -> None:
    assert list(part("color").filmstrips) == ["dpok"]
    assert list(part("color").curves) == ["sft", "dpok"]


def test_levels_are_metrics_and_claims_are_judged() -> None:
    tracker, scored = Recorder(), scores("color")
    tables = join_methods([*scored, *embeddings(scored)])
    comparison, claims = compare_and_judge(tables, CONFIG, COMPARISON, tracker)
    levels = tracker.metrics
    base = levels["evaluation/train/base/image_reward"]
    assert levels["evaluation/train/dpok/image_reward"] - base == pytest.approx(2)
    assert claims.set_index("claim").loc["reward_above_sft", "verdict"] == "holds"
    assert "dpok - sft" in set(comparison["quantity"])


def diversities(comparison: pd.DataFrame) -> dict[tuple[str, str], float]:
    rows = comparison[comparison["metric"] == "diversity"]
    rows = rows[rows["experiment"] != "all"]
    return dict(zip(zip(rows["prompt"], rows["quantity"], strict=True), rows["mean"], strict=True))


def test_embeddings_are_joined_by_image_and_not_by_row() -> None:
    scored = scores("color")
    task = Task(experiment="all")
    straight = diversities(compared(*scored, *embeddings(scored)))
    assert straight["color train", "base"] == pytest.approx(0)
    assert straight["color train", "dpok"] > 0.5
    assert diversities(compared(*scored, *turned(embeddings(scored)))) == pytest.approx(straight)
    joint = compare_experiments(CONFIG, COMPARISON, task, part("color"))[0]
    assert diversities(joint) == pytest.approx(straight)


@pytest.mark.parametrize(
    "other",
    [
        embeddings(scores("color", drawn="second")),
        [table[:-1] for table in embeddings(scores("color"))],
        [table.drop(columns=IMAGE) for table in embeddings(scores("color"))],
    ],
    ids=["another evaluation", "too few", "of an earlier release"],
)
def test_embeddings_of_other_images_are_refused(other: list[pd.DataFrame]) -> None:
    with pytest.raises(InputError, match=r"embeddings: \d+ rows, of which \d+ are of the 48"):
        compared(*scores("color"), *other)


def test_methods_that_were_not_drawn_and_scored_alike_are_refused() -> None:
    base, sft, _ = scores("color")
    _, _, dpok = scores("color", recipe="another")
    with pytest.raises(InputError, match="`dpok` of color was not drawn and scored as `base`"):
        compared(base, sft, dpok, *embeddings([base, sft, dpok]))


def test_experiments_that_are_not_there_are_left_out() -> None:
    parts = (part("color"), None, part("count"))
    comparison, _ = compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), *parts)
    assert set(comparison["experiment"]) == {"color", "count", "all"}


def test_experiments_that_were_not_drawn_alike_are_refused() -> None:
    parts = (part("color"), part("count", recipe="another"))
    with pytest.raises(InputError, match="of count was not drawn and scored as"):
        compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), *parts)


def trained(experiment: str, version: str = "2026-01-01", **settings: str) -> ReportParts:
    told = {"dpok.prompts": f"[{experiment}]", **{f"dpok.{k}": v for k, v in settings.items()}}
    provenance = {"Run": {"LoRA of dpok": version}, "Parameters": {"sampling.eta": "1", **told}}
    return part(experiment)._replace(provenance=provenance)


def test_experiments_whose_methods_were_trained_otherwise_are_refused() -> None:
    parts = (trained("color", lr="0.1", of_a_new_release="1"), trained("count", lr="0.1"))
    compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), *parts)
    parts = (trained("color", lr="0.1"), trained("count", lr="0.2"))
    with pytest.raises(InputError, match="dpok was trained otherwise in count .*: lr was"):
        compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), *parts)
    parts = (trained("color", lr="0.1"), trained("count", version="env-count-dpok-v3", lr="0.2"))
    compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), *parts)


def test_a_joint_report_shows_once_what_all_share_and_the_rest_by_experiment() -> None:
    run = {"LoRA of dpok": "2026-01-01"}
    parts = [trained("color", lr="0.1"), trained("count", lr="0.1", of_a_new_release="1")]
    assert _joint_provenance(parts) == {
        "Run of color": {**run, "dpok.prompts": "[color]"},
        "Run of count": {**run, "dpok.prompts": "[count]", "dpok.of_a_new_release": "1"},
        "Parameters": {"sampling.eta": "1", "dpok.lr": "0.1"},
    }


def test_no_experiment_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="run evaluation first"):
        compare_experiments(CONFIG, COMPARISON, Task(experiment="all"), None, None)
