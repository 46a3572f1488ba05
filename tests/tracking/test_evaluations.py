"""With what an evaluation's numbers can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DataCatalog, Version

from dpok_pipeline.datasets.shards import ShardedParquetDataset
from dpok_pipeline.datasets.whole_files import ParquetDataset
from dpok_pipeline.evaluation.comparison import PROMPT_KEYS
from dpok_pipeline.files.shards import ShardStore
from dpok_pipeline.tracking.evaluations import Evaluated, read_evaluated

LORA = "2026-01-01T00.00.00.000Z"
COMPARISON = pd.DataFrame(
    [["color", "p", "a cat", "train", "image_reward", "sft", 0.5, 0.4, 0.6]],
    columns=[*PROMPT_KEYS, "metric", "quantity", "mean", "low", "high"],
)


def evaluated(folder: Path, scored_by: dict[str, Any], **drawn: Any) -> Evaluated:
    """An evaluation whose images were drawn by a recipe."""
    recipe = {"base_model": "b" * 64, "prompts": [["p", "a cat", "color", "train"]], **drawn}
    store = ShardStore(folder / "work", {})
    store.write(0, range(1), pd.DataFrame({"index": [0]}))
    version = Version(None, LORA)
    images = ShardedParquetDataset(filepath=(folder / "images").as_posix(), version=version)
    images.save(store.finish({"recipe": recipe, "version": LORA}))
    # The rows' recipe is without the prompts: each experiment has its own.
    table = pd.DataFrame({"recipe": ["the same"]})
    table.attrs = {"scored_by": scored_by, "images": "a digest"}
    scores = ParquetDataset(filepath=(folder / "scores.parquet").as_posix(), version=version)
    scores.save(table)
    catalog = DataCatalog({"color.sft.images": images, "color.sft.scores": scores})
    found = read_evaluated(catalog, "color", "sft", COMPARISON)
    assert found is not None
    return found


def test_evaluations_on_other_prompts_are_not_compared(tmp_path: Path) -> None:
    scorers = {"judge": "v1"}
    first = evaluated(tmp_path / "first", scorers)
    assert (first.version, first.scores) == (LORA, {"reward": 0.5})
    again = evaluated(tmp_path / "again", scorers)
    assert again.evaluation == first.evaluation
    prompts = [["p", "a cat", "color", "train"], ["q", "a dog", "color", "train"]]
    others = [
        evaluated(tmp_path / "prompts", scorers, prompts=prompts),
        evaluated(tmp_path / "model", scorers, base_model="c" * 64),
        evaluated(tmp_path / "scorers", {"judge": "v2"}),
    ]
    assert len({first.evaluation, *(other.evaluation for other in others)}) == 4
