"""The rows of figures in git: one JSON file per unit, from which every table and curve is drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.reproduce.series import BASE, RESULTS, Series, Unit
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import replace_durably

#: Metrics whose value of every image is kept.
KEPT = ("image_reward", "judge", "aesthetic", "saturation", "kl")
#: Decimals of a score; the sixth would be noise between machines.
DECIMALS = 5


@dataclass(frozen=True)
class Row:
    """What is known of a finished unit.

    Attributes:
        identity: Hash of all that decides its figures; another one means another unit.
        compared_by: Hash of how images are drawn and scored: only equal ones can be compared.
        prompts: Per prompt: prompt_id, prompt, split, the number of images, the scores of every
            image by metric, and the diversity of them all.
        curve: Mean reward of each rollout of an online method.
        seconds: Processor time of training since the run's smaller unit, and of evaluation.
        commit: The project's commit.
        machine: Processor, cores, torch.
    """

    identity: str
    compared_by: str
    prompts: list[dict[str, Any]]
    curve: list[float]
    seconds: dict[str, float]
    commit: str
    machine: str


#: The rows of one series, by their units.
Rows = Mapping[Unit, Row]


def write_row(project: Path, unit: Unit, row: Row) -> None:
    """Write a unit's row, so that it is there as a whole or not at all."""
    path = project / unit.path
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, (json.dumps({**asdict(unit), **asdict(row)}) + "\n").encode())


def read_row(project: Path, unit: Unit) -> Row | None:
    """Read a unit's row; None if it has not been made.

    Raises:
        InputError: The file is no such row, or another unit's.
    """
    path = project / unit.path
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {name: content.pop(name) for name in asdict(unit)}
        row = Row(**content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: no row of figures ({error}); restore it with git, or remove it"
        ) from error
    if about != asdict(unit):
        raise InputError(f"{path}: the row of another unit; restore it with git, or remove it")
    return row


def read_rows(project: Path, series: Series) -> dict[Unit, Row]:
    """Read the rows of all finished units of a series, in the order of the units.

    Raises:
        InputError: A file is no such row, or no unit's.
    """
    found = {unit: row for unit in series.units() if (row := read_row(project, unit)) is not None}
    known = {project / unit.path for unit in series.units()}
    for path in sorted((project / series.units()[0].path).parents[1].rglob("*.json")):
        if path not in known:
            raise InputError(f"{path}: no unit of series {series.name}; remove it")
    return found


def with_partners(rows: Mapping[str, Rows], series: Series) -> Rows:
    """Return the rows of a series and of the one whose methods its own are compared with."""
    return {**rows.get(series.beside, {}), **rows[series.name]}


def scores_of(
    rows: Rows,
    images: int,
    methods: Sequence[str],
    experiments: Sequence[str],
) -> pd.DataFrame:
    """Put the images of one size side by side, the base model's beside every training seed.

    Args:
        rows: The rows of one series.
        images: Number of images that the methods have learned from.
        methods: Names of the methods, the base model aside.
        experiments: Names of the experiments.

    Returns:
        A scores frame as `evaluation.comparison.compare` takes it, of the training seeds of which
        every method and experiment has a row; empty where there is none.

    Raises:
        InputError: The rows were drawn or scored in different ways.
    """
    found = {
        (unit.images, unit.seed, unit.experiment, unit.method): row for unit, row in rows.items()
    }
    frames = []
    for seed in sorted({unit.seed for unit in rows}):
        keys = [
            (0, 0, name, BASE) if method == BASE else (images, seed, name, method)
            for name in experiments
            for method in (BASE, *methods)
        ]
        if all(key in found for key in keys):
            frames += [_frame(found[key], key[2], key[3], seed) for key in keys]
    scores = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if frames and scores.groupby("experiment")["recipe"].nunique().max() > 1:
        raise InputError(
            f"{RESULTS}: rows of {images} images were drawn or scored in different ways; remove "
            "those of older settings and make them again with `make reproduce`"
        )
    return scores


def _frame(row: Row, experiment: str, method: str, seed: int) -> pd.DataFrame:
    parts = [
        # In one piece: columns that are added one by one take most of a page's time.
        pd.DataFrame(
            {
                **prompt["scores"],
                "index": range(prompt["images"]),
                "prompt_id": prompt["prompt_id"],
                "prompt": prompt["prompt"],
                "split": prompt["split"],
                "experiment": experiment,
                "method": method,
                "training_seed": seed,
                "recipe": row.compared_by,
            }
        )
        for prompt in row.prompts
    ]
    return pd.concat(parts, ignore_index=True)
