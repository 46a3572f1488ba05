"""What the report's sections of pictures hold: grids of the same noise, and galleries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.names import (
    BASE,
    SPLIT_LABELS,
    MethodLabel,
    metric,
    one_line,
    training_reward,
)
from dpok_pipeline.evaluation.reading import main_metrics, overall
from dpok_pipeline.report.pictures.album import PROMPT_LENGTH, Album, Material, Picture
from dpok_pipeline.report.pictures.chosen import first_noises
from dpok_pipeline.report.pictures.galleries import GALLERY_SIZE, hacked, witness, worst


class Row(NamedTuple):
    """A method's pictures of a grid, one per noise; None where there is none."""

    method: MethodLabel
    pictures: list[Picture | None]


class Grid(NamedTuple):
    """The pictures of one prompt: a row per method, a column per noise.

    Attributes:
        place: Id of the grid in the page.
        split: What kind of prompt it is, in words.
        prompt: The prompt.
        noises: Indices of the noises.
        rows: The methods that have pictures.
    """

    place: str
    split: str
    prompt: str
    noises: list[int]
    rows: list[Row]


class Pair(NamedTuple):
    """A method's picture, and the base model's from the same noise, if the page has it."""

    base: Picture | None
    ours: Picture


class Gallery(NamedTuple):
    """What is shown of one method.

    Attributes:
        method: The method.
        worst: Its pictures with the lowest rewards.
        hacked: Those whose reward was hacked.
        hacked_images: How many such images it has in all.
        images: How many images of training prompts it has.
    """

    method: MethodLabel
    worst: list[Pair]
    hacked: list[Pair]
    hacked_images: int
    images: int


class Experiment(NamedTuple):
    """The pictures of one experiment.

    Attributes:
        title: Its training prompts.
        grids: Its training prompt, and its unseen one.
        galleries: One for each method.
        several: Whether a gallery's pictures may be of different prompts.
        absent: Whether the experiment was evaluated before reports kept pictures.
    """

    title: str
    grids: list[Grid]
    galleries: list[Gallery]
    several: bool
    absent: bool


def picture_sections(
    materials: Mapping[str, Material], comparison: pd.DataFrame, methods: Sequence[MethodLabel]
) -> dict[str, object]:
    """Lay out the pictures, and say what their texts need to know.

    Args:
        materials: Scores and pictures by experiment.
        comparison: As `comparison.compare` returns it.
        methods: Methods in the order in which they are shown, the base model first.
    """
    metrics = main_metrics(comparison)
    album = Album(materials, metrics)
    experiments = []
    grids = 0
    for name, (scores, pictures) in materials.items():
        shown = [] if pictures.empty else _grids(name, scores, album, methods, grids)
        grids += len(shown)
        experiments.append((name, scores, shown))
    # Galleries come after all grids: what both show is in the page where it is seen first.
    told_by = next((witness(scores) for scores, _ in materials.values()), None)
    return {
        "experiments": [
            _experiment(name, scores, shown, album, methods) for name, scores, shown in experiments
        ],
        "witness": told_by,
        "witness_label": metric(told_by).label if told_by else "",
        "reward": metric(training_reward(set(comparison["metric"]))).label,
        "best": _best(comparison, methods),
    }


def _experiment(
    name: str,
    scores: pd.DataFrame,
    grids: list[Grid],
    album: Album,
    methods: Sequence[MethodLabel],
) -> Experiment:
    prompts = scores.loc[scores["split"] == "train", "prompt"].unique()
    trained = [method for method in methods if method.name in set(scores["method"])]
    galleries = [
        _gallery(name, scores, album, method) for method in trained if method.name != BASE.name
    ]
    return Experiment(
        title=", ".join(one_line(str(prompt), PROMPT_LENGTH) for prompt in prompts),
        grids=grids,
        galleries=galleries if grids else [],
        several=len(prompts) > 1,
        absent=not grids,
    )


def _grids(
    experiment: str,
    scores: pd.DataFrame,
    album: Album,
    methods: Sequence[MethodLabel],
    number: int,
) -> list[Grid]:
    """Lay out an experiment's grids, the first of which has this number in the page."""
    grids: list[Grid] = []
    for split, label in SPLIT_LABELS.items():
        rows = first_noises(scores, split)
        if rows.empty:
            continue
        noises = sorted(map(int, rows["index"].unique()))
        prompt_id = str(rows["prompt_id"].iloc[0])
        by_method = [
            Row(method, [album.show(experiment, method, prompt_id, noise) for noise in noises])
            for method in methods
        ]
        grids.append(
            Grid(
                place=f"grid-{number + len(grids)}",
                split=label.removesuffix("s"),
                prompt=one_line(str(rows["prompt"].iloc[0]), PROMPT_LENGTH),
                noises=noises,
                rows=[row for row in by_method if any(row.pictures)],
            )
        )
    return grids


def _gallery(experiment: str, scores: pd.DataFrame, album: Album, method: MethodLabel) -> Gallery:
    """Lay out one method's gallery."""

    def pairs(rows: pd.DataFrame) -> list[Pair]:
        keys = rows.head(GALLERY_SIZE)[["prompt_id", "index"]].itertuples(index=False)
        shown = []
        for prompt, noise in keys:
            base = album.show(experiment, BASE, str(prompt), int(noise))
            ours = album.show(experiment, method, str(prompt), int(noise))
            if ours is not None:
                shown.append(Pair(base, ours))
        return shown

    lowest, cheating = worst(scores, method.name), hacked(scores, method.name)
    return Gallery(method, pairs(lowest), pairs(cheating), len(cheating), len(lowest))


def _best(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> str:
    """Name the method with the highest reward on training prompts, which readers look at first."""
    levels, reward = overall(comparison, "train"), training_reward(set(comparison["metric"]))
    known = [method.name for method in methods[1:] if (reward, method.name) in levels]
    return max(known, key=lambda name: levels[reward, name].mean, default=methods[-1].name)
