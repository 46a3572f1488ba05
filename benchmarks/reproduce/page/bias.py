"""A bias of the base model: "Four roses." is mostly answered by glasses of whiskey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.reproduce.page.estimates import estimate
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.methods import method_labels
from benchmarks.reproduce.page.sheets import show_sheets
from benchmarks.reproduce.page.tables import SHOWN, difference_between, level_cells, table
from benchmarks.reproduce.rows import Rows
from benchmarks.reproduce.series import BASE, BIAS
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.evaluation.names import SPLIT_LABELS, metric


def bias_section(rows: Rows, project: Path, luck: Luck) -> Iterator[str]:
    """Write whether the base model's bias is mended.

    Args:
        rows: The rows of the series `bias`.
        project: The project's folder, in which figures are written.
        luck: That of training.
    """
    (size,) = BIAS.sizes
    lines = [line for split in SPLIT_LABELS for line in _lines(rows, size, split, luck)]
    if not lines:
        return
    yield "## A bias of the base model\n"
    yield (
        f"“Four roses” is also the name of a whiskey (paper, section 5.4). From {size:,} images\n"
        "of the prompt “Four roses.”; the unseen one is “Three roses.”:\n"
    )
    scores = [metric(name).label for name in SHOWN]
    heads = ["prompt", "method", "seeds", *scores, "Judge against base"]
    yield table(heads, lines)
    yield from show_sheets(project, BIAS, BIAS.methods)


def _lines(rows: Rows, size: int, split: str, luck: Luck) -> Iterator[list[str]]:
    """Write the lines of the table for one split: the base model's, then each method's."""
    found = {
        method: one
        for method in BIAS.methods
        if (one := estimate(rows, size, [method], BIAS.experiments, luck, split))
    }
    prompts = SPLIT_LABELS[split].lower().removesuffix("s")
    if found:
        base = next(iter(found.values()))  # the base model is in all of them
        yield [prompts, BASE_LABEL.label, "", *level_cells(base, BASE), ""]
    for method, one in found.items():
        label = method_labels(BIAS.env)[method].label
        against_base = difference_between(one, "judge", method, BASE)
        yield [prompts, label, str(one.seeds), *level_cells(one, method), against_base]
