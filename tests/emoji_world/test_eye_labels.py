"""The samples labelled by eye: laid out, labelled, read back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dpok_pipeline.emoji_world.__main__ import main
from dpok_pipeline.emoji_world.eye_labels import (
    EyeLabels,
    agreement,
    collect_samples,
    read_eye_labels,
)
from dpok_pipeline.emoji_world.judge import JudgeScorer
from dpok_pipeline.errors import InputError

from .conftest import WORLD


def _png(level: int) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), level, dtype=np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue()}


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """Two versions of one experiment's images; levels tell them apart."""
    for version, offset in (("2026-01-01", 0), ("2026-01-02", 100)):
        for place, method in enumerate(("base", "dpok", "sft")):
            folder = tmp_path / "out" / "color" / method / "images" / version / "images"
            folder.mkdir(parents=True)
            rows = [
                {"prompt": "A cat.", "method": method, "split": split, "index": index,
                 "image": _png(offset + 10 * place + index)}
                for split in ("train", "unseen") for index in (1, 0)
            ]  # fmt: skip
            pd.DataFrame(rows).to_parquet(folder / "shard-00000.parquet")
    return tmp_path / "out"


def test_the_newest_samples_are_laid_out_in_random_order_and_read_back(
    evaluated: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "labels"
    assert collect_samples(evaluated, folder, per_method=2) == 6
    with pytest.raises(InputError, match=r"labels.csv line 2: `right` is yes or no"):
        read_eye_labels(folder)
    table = pd.read_csv(folder / "labels.csv")
    table["right"] = ["yes", "no"] * 3
    table.to_csv(folder / "labels.csv", index=False)
    labels = read_eye_labels(folder)
    levels = (labels.pictures[:, 0, 0, 0] * 255).round().tolist()
    # Each picture keeps its method, and the order does not tell the methods.
    of_level = {100: "base", 101: "base", 110: "dpok", 111: "dpok", 120: "sft", 121: "sft"}
    assert sorted(levels) == sorted(of_level)
    assert labels.methods == [of_level[int(level)] for level in levels]
    assert labels.methods != sorted(labels.methods)
    assert labels.right.tolist() == [True, False] * 3


def test_labels_are_never_overwritten(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    arguments = ["collect-samples", "--evaluated", str(evaluated), "--folder", str(folder)]
    assert main([*arguments, "--per-method", "2"]) == 0
    before = (folder / "labels.csv").read_bytes()
    assert main(arguments) == 1
    assert (folder / "labels.csv").read_bytes() == before


def test_nothing_to_label_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kedro run"):
        collect_samples(tmp_path, tmp_path / "labels", per_method=2)


def test_the_labels_in_git_are_of_three_methods() -> None:
    labels = read_eye_labels(WORLD / "eye_labels")
    assert {name: labels.methods.count(name) for name in labels.methods} == {
        "base": 80,
        "sft": 80,
        "dpok": 80,
    }
    assert labels.pictures.shape == (240, 3, 64, 64)


def test_the_judge_agrees_with_the_labels_alike_for_every_method() -> None:
    shares = agreement(
        JudgeScorer.from_folder(WORLD / "judge"), read_eye_labels(WORLD / "eye_labels")
    )
    assert shares["all"] >= 0.95 - 1e-6  # 228 of 240, in float32
    of_methods = [share for name, share in shares.items() if name != "all"]
    assert max(of_methods) - min(of_methods) <= 0.03


def test_agreement_is_counted_by_method() -> None:
    class Yes:
        def score(self, images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            return torch.ones(len(images))

    labels = EyeLabels(
        torch.zeros(4, 3, 64, 64),
        ["A cat."] * 4,
        ["base", "base", "base", "sft"],
        torch.tensor([True, False, False, True]),
    )
    shares = agreement(cast(JudgeScorer, Yes()), labels)
    assert shares == {"all": 0.5, "base": pytest.approx(1 / 3), "sft": 1.0}
