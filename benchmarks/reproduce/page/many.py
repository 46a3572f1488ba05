"""One model for many prompts, by kind of question, and beside the models of one prompt each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from benchmarks.reproduce.page.estimates import estimate_scores, images_of, mean_interval
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.methods import method_labels
from benchmarks.reproduce.page.tables import (
    SHOWN,
    difference_cell,
    difference_cells,
    table,
    training_seeds,
)
from benchmarks.reproduce.rows import Rows, scores_of
from benchmarks.reproduce.series import BASE, CURVE, MANY
from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.evaluation.names import SPLIT_LABELS, metric

#: The paper's four questions, in the order in which a sentence is asked about them.
QUESTIONS = ("color", "composition", "count", "location")


def many_section(rows: Rows, single: Rows, luck: Luck) -> Iterator[str]:
    """Write what one model for many prompts learns.

    Args:
        rows: The rows of the series `many`.
        single: The rows of the curve, whose models have a prompt each.
        luck: That of training.
    """
    trained = [
        (size, method, scores)
        for size in MANY.sizes
        for method in MANY.methods
        if not (scores := scores_of(rows, size, [method], MANY.experiments)).empty
    ]
    if not trained:
        return
    prompts = trained[0][2].groupby("split")["prompt_id"].nunique()
    images, seeds = (int(trained[0][2][key].nunique()) for key in ("index", "training_seed"))
    yield "## One model for many prompts\n"
    yield (
        f"{prompts['train']} training prompts of EmojiWorld's grammar and {prompts['unseen']} "
        f"unseen ones, {images} images of each,\n{training_seeds(seeds)}. Differences are to "
        "the base model; intervals cover other prompts of the grammar, too.\n"
    )
    largest = max(size for size, _, _ in trained)
    lines = [
        line
        for size, method, scores in trained
        for split in SPLIT_LABELS
        for question in (None, *(QUESTIONS if size == largest else ()))
        if (line := _by_question(scores, size, method, split, question, luck))
    ]
    heads = ["images", "method", "prompts", "question", *(metric(name).label for name in SHOWN)]
    yield table(heads, lines)
    yield from _many_against_single(rows, single, int(prompts["train"]), luck)


def _by_question(
    scores: pd.DataFrame, size: int, method: str, split: str, question: str | None, luck: Luck
) -> list[str] | None:
    asked = scores if question is None else scores[scores["prompt"].map(question_of) == question]
    one = estimate_scores(asked, size, [method], luck, split)
    if one is None:
        return None
    label = method_labels(MANY.env)[method].label
    asked_for = [SPLIT_LABELS[split].lower(), question or "all"]
    return [f"{size:,}", label, *asked_for, *difference_cells(one, method, BASE)]


def _many_against_single(
    rows: Rows, single: Rows, training_prompts: int, luck: Luck
) -> Iterator[str]:
    """Write how the model of many prompts does on the four, against the models of one each."""
    lines = []
    for size in MANY.sizes:
        for method in MANY.methods:
            each = size // training_prompts
            ours = scores_of(rows, size, [method], MANY.experiments)
            theirs = scores_of(single, each, [method], CURVE.experiments)
            if not ours.empty and not theirs.empty:
                label = method_labels(MANY.env)[method].label
                cells = _on_the_four(ours, theirs, (size, each), method, luck)
                lines.append([f"{size:,}", f"{each:,}", label, *cells])
    if lines:
        yield (
            "The model of many prompts less the models of one prompt each, on the paper's four\n"
            "prompts, from about as many images of each, on the same noises. (The paper's first\n"
            "version has 1.10 for one model of the four prompts and 1.25 for four models.)\n"
        )
        heads = ["images", "of a prompt", "method", *(metric(name).label for name in SHOWN)]
        yield table(heads, lines)


def _on_the_four(
    ours: pd.DataFrame, theirs: pd.DataFrame, sizes: tuple[int, int], method: str, luck: Luck
) -> Sequence[str]:
    """Compare noise by noise, on those that both have drawn; the one and the other's images."""
    theirs = theirs[(theirs["split"] == "train") & (theirs["method"] == method)]
    theirs = theirs[theirs["index"].isin(ours["index"])]
    ours = ours[ours["prompt"].isin(theirs["prompt"]) & (ours["method"] == method)]
    # A prompt has another place in each table: its text says which belong together.
    ours, theirs = (one.assign(prompt_id=one["prompt"]) for one in (ours, theirs))
    ours = ours.assign(experiment=ours["prompt"].map(_experiments(theirs)))
    runs = theirs[["experiment", "training_seed"]].drop_duplicates()
    cells = []
    for name in SHOWN:
        spreads = [
            *luck.of_mean(method, sizes[0], name, "train", ours["training_seed"].nunique()),
            *luck.of_mean(method, sizes[1], name, "train", len(runs)),
        ]
        gained = images_of(ours, name) - images_of(theirs, name)
        cells.append(difference_cell(mean_interval(gained, spreads), name))
    return cells


def _experiments(scores: pd.DataFrame) -> dict[str, str]:
    pairs = scores[["prompt", "experiment"]].drop_duplicates()
    return dict(zip(pairs["prompt"], pairs["experiment"], strict=True))


def question_of(prompt: str) -> str:
    """Say which of the paper's four questions a sentence of EmojiWorld's grammar asks."""
    caption = parse(prompt)
    if caption is None:
        return "other"
    asked = (caption.colour, caption.other, caption.count > 1, caption.place)
    return next((name for name, part in zip(QUESTIONS, asked, strict=True) if part), "other")
