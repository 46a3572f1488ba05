"""Samples that a person looked at: the yardstick that the judge is held against.

`pictures.png` holds 64x64 samples of base, SFT and DPOK models in a grid, `labels.csv` a row for
each in reading order: prompt, model, and whether a person saw exactly what the prompt says.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dpok_pipeline.emoji_world.judge import JudgeScorer
from dpok_pipeline.emoji_world.vocabulary import IMAGE_SIZE
from dpok_pipeline.errors import InputError


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


def read_eye_labels(folder: Path) -> EyeLabels:
    """Read `pictures.png` and `labels.csv`.

    Raises:
        InputError: If there are more labels than pictures.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
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
