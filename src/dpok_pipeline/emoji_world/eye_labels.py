"""Samples that a person looked at: the yardstick that the judge is held against.

`pictures.png` holds 64x64 samples of base, SFT and DPOK models in a grid, `labels.csv` a row for
each in reading order: prompt, model, and whether a person saw exactly what the prompt says.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from dpok_pipeline.emoji_world.judge import JudgeScorer
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE
from dpok_pipeline.errors import InputError

MODELS = ("base", "sft", "rl")


class EyeLabels(NamedTuple):
    """n labelled samples.

    Attributes:
        pictures: (n, 3, 64, 64) in [0, 1].
        prompts: n sentences.
        models: n of `base`, `sft`, `rl`.
        right: (n,) bool, what the person said.
    """

    pictures: Tensor
    prompts: list[str]
    models: list[str]
    right: Tensor


def collect_samples(evaluated: Path, folder: Path, per_model: int) -> int:
    """Lay out evaluated samples of every training prompt for labelling.

    Writes `pictures.png` and a `labels.csv` whose `right` is still empty, for a person to fill in
    with yes or no.

    Args:
        evaluated: Holds `{experiment}/evaluation_images/{version}/...` as the evaluation wrote it;
            the newest version of each experiment is taken.
        folder: Written to; must not hold labels yet.
        per_model: Samples of each of base, SFT and DPOK per experiment.

    Returns:
        How many samples there are to label.

    Raises:
        InputError: If there are labels already, or nothing to label.
    """
    if (folder / "labels.csv").exists():
        raise InputError(f"{folder / 'labels.csv'}: labels are there already; move them away first")
    rows = []
    for versions in sorted(evaluated.glob("*/evaluation_images")):
        newest = max(versions.iterdir())
        frame = pd.concat([pd.read_parquet(file) for file in sorted(newest.rglob("*.parquet"))])
        chosen = frame[(frame["split"] == "train") & (frame["index"] < per_model)]
        for model in MODELS:
            rows.append(chosen[chosen["model"] == model].sort_values("index"))
    if not rows:
        raise InputError(f"{evaluated}: no evaluation_images; `kedro run` first")
    samples = pd.concat(rows)
    sheet = Image.new("RGB", (per_model * IMAGE_SIZE, len(rows) * IMAGE_SIZE))
    for number, picture in enumerate(samples["image"]):
        cell = (number % per_model * IMAGE_SIZE, number // per_model * IMAGE_SIZE)
        sheet.paste(Image.open(io.BytesIO(picture["bytes"])), cell)
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / "pictures.png")
    samples.assign(right="")[["prompt", "model", "right"]].to_csv(
        folder / "labels.csv", index=False
    )
    return len(samples)


def read_eye_labels(folder: Path) -> EyeLabels:
    """Read `pictures.png` and `labels.csv`.

    Raises:
        InputError: If there are more labels than pictures, or a sample has no label.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    unlabelled = [n for n, row in enumerate(rows, 2) if row["right"] not in ("yes", "no")]
    if unlabelled:
        raise InputError(f"{folder / 'labels.csv'} line {unlabelled[0]}: `right` is yes or no")
    grid = np.asarray(Image.open(folder / "pictures.png").convert("RGB"))
    down, across = grid.shape[0] // IMAGE_SIZE, grid.shape[1] // IMAGE_SIZE
    cells = grid.reshape(down, IMAGE_SIZE, across, IMAGE_SIZE, 3).swapaxes(1, 2)
    if down * across < len(rows):
        raise InputError(f"{folder}: {len(rows)} labels for {down * across} pictures")
    pictures = torch.from_numpy(cells.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)[: len(rows)].copy())
    return EyeLabels(
        pictures.permute(0, 3, 1, 2).float() / 255,
        [row["prompt"] for row in rows],
        [row["model"] for row in rows],
        torch.tensor([row["right"] == "yes" for row in rows]),
    )


def agreement(judge: JudgeScorer, labels: EyeLabels) -> float:
    """Share of the samples on which the judge says what the person said.

    Where the judge cannot tell, it says wrong and is so counted.
    """
    said = judge.score(labels.pictures, labels.prompts).bool()
    return (said == labels.right).float().mean().item()
