"""Samples that a person has labelled, by which the judge is measured.

`pictures.png` holds 64x64 samples of the base model and of methods in a grid, and `labels.csv` a
row for each in reading order: the prompt, the method, and whether a person saw exactly what the
prompt says. Samples of one prompt stand in random order, so that who looks at the pictures cannot
tell the methods apart.
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


class EyeLabels(NamedTuple):
    """n labelled samples.

    Attributes:
        pictures: The samples `(n, 3, 64, 64)` in [0, 1].
        prompts: Their n sentences.
        methods: Their n methods, such as `base`, `sft` and `dpok`.
        right: Whether the person saw what the sentence says, `(n,)` bool.
    """

    pictures: Tensor
    prompts: list[str]
    methods: list[str]
    right: Tensor


def collect_samples(evaluated: Path, folder: Path, per_method: int) -> int:
    """Lay out evaluated samples of every training prompt for labelling.

    This writes `pictures.png`, and a `labels.csv` whose column `right` is empty, for a person to
    fill in with yes or no.

    Args:
        evaluated: The folder with `{experiment}/{method}/images/{version}/…` as the evaluation
            wrote it. The newest version of each is taken.
        folder: The folder to write to, which must not hold labels yet.
        per_method: Number of samples of each method, the base model among them, per experiment.

    Returns:
        The number of samples to label.

    Raises:
        InputError: There are labels already, or there is nothing to label.
    """
    if (folder / "labels.csv").exists():
        raise InputError(f"{folder / 'labels.csv'}: labels are there already; move them away first")
    rows: list[pd.DataFrame] = []
    for experiment in sorted(evaluated.iterdir() if evaluated.is_dir() else []):
        of_methods = []
        for versions in sorted(experiment.glob("*/images")):
            newest = max(versions.iterdir())
            frame = pd.concat([pd.read_parquet(file) for file in sorted(newest.rglob("*.parquet"))])
            of_training = (frame["split"] == "train") & (frame["index"] < per_method)
            of_methods.append(frame[of_training].sort_values("index", kind="stable"))
        if of_methods:
            rows.append(pd.concat(of_methods).sample(frac=1, random_state=len(rows)))
    if not rows:
        raise InputError(f"{evaluated}: no images of an evaluation; `kedro run` first")
    samples = pd.concat(rows)
    lines = -(-len(samples) // per_method)
    sheet = Image.new("RGB", (per_method * IMAGE_SIZE, lines * IMAGE_SIZE))
    for number, picture in enumerate(samples["image"]):
        cell = (number % per_method * IMAGE_SIZE, number // per_method * IMAGE_SIZE)
        sheet.paste(Image.open(io.BytesIO(picture["bytes"])), cell)
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / "pictures.png")
    samples.assign(right="")[["prompt", "method", "right"]].to_csv(
        folder / "labels.csv", index=False
    )
    return len(samples)


def read_eye_labels(folder: Path) -> EyeLabels:
    """Read `pictures.png` and `labels.csv`.

    Raises:
        InputError: There are more labels than pictures, or a sample has no label.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for line, row in enumerate(rows, start=2):
        if row["right"] not in ("yes", "no"):
            raise InputError(f"{folder / 'labels.csv'} line {line}: `right` is yes or no")
    grid = np.asarray(Image.open(folder / "pictures.png").convert("RGB"))
    down, across = grid.shape[0] // IMAGE_SIZE, grid.shape[1] // IMAGE_SIZE
    # The grid's height and width are split into rows and columns of cells, and the cells are then
    # put in reading order: (down, across, 64, 64, 3).
    cells = grid.reshape(down, IMAGE_SIZE, across, IMAGE_SIZE, 3).swapaxes(1, 2)
    if down * across < len(rows):
        raise InputError(f"{folder}: {len(rows)} labels for {down * across} pictures")
    pictures = torch.from_numpy(cells.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)[: len(rows)].copy())
    return EyeLabels(
        pictures.permute(0, 3, 1, 2).float() / 255,
        [row["prompt"] for row in rows],
        [row["method"] for row in rows],
        torch.tensor([row["right"] == "yes" for row in rows]),
    )


def agreement(judge: JudgeScorer, labels: EyeLabels) -> dict[str, float]:
    """Return the share of the samples on which the judge says what the person said.

    Where the judge cannot tell, it says that the picture is wrong, and is counted so.

    Returns:
        The share of all samples as `all`, and that of each method's.
    """
    verdicts = judge.score(labels.pictures, labels.prompts).bool()
    agrees = pd.Series((verdicts == labels.right).float().numpy())
    shares = agrees.groupby(pd.Series(labels.methods)).mean()
    return {"all": float(agrees.mean()), **{str(name): float(s) for name, s in shares.items()}}
