"""A bias of the base model: "Four roses." is mostly answered by glasses of whiskey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.reproduce.page.curve import show_sheets
from benchmarks.reproduce.page.estimates import estimate
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.methods import method_labels
from benchmarks.reproduce.page.tables import SHOWN, difference_between, level_cell, table
from benchmarks.reproduce.pictures import write_sheets
from benchmarks.reproduce.rows import Rows
from benchmarks.reproduce.series import BASE, BIAS, IMAGES
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.evaluation.names import metric


def bias_section(rows: Rows, project: Path, luck: Luck) -> Iterator[str]:
    """Write whether the base model's bias is mended.

    Args:
        rows: The rows of the series `bias`.
        project: The project's folder, in which figures are written.
        luck: That of training.
    """
    (size,) = BIAS.sizes
    found = {
        method: one
        for method in BIAS.methods
        if (one := estimate(rows, size, [method], BIAS.experiments, luck))
    }
    if not found:
        return
    base = next(iter(found.values()))
    levels = [level_cell(name, base.cells[name, BASE]) for name in SHOWN]
    lines = [[BASE_LABEL.label, "", *levels, ""]]
    for method, one in found.items():
        levels = [level_cell(name, one.cells[name, method]) for name in SHOWN]
        label = method_labels(BIAS.env)[method].label
        against_base = difference_between(one, "judge", method, BASE)
        lines.append([label, str(one.seeds), *levels, against_base])
    yield "## A bias of the base model\n"
    yield (
        f"“Four roses” is also the name of a whiskey (paper, section 5.4). From {size:,} images\n"
        "of the prompt “Four roses.”:\n"
    )
    heads = ["method", "seeds", *(metric(name).label for name in SHOWN), "Judge against base"]
    yield table(heads, lines)
    labels = [method_labels(BIAS.env)[name] for name in BIAS.methods]
    sheets = write_sheets(project, BIAS, project / IMAGES, labels)
    yield from show_sheets(sheets, "The same noises, training seed 0:\n")
