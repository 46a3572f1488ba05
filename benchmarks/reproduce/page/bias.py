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
    lines = [[BASE_LABEL.label, "", *level_cells(base, BASE), ""]]
    for method, one in found.items():
        label = method_labels(BIAS.env)[method].label
        against_base = difference_between(one, "judge", method, BASE)
        lines.append([label, str(one.seeds), *level_cells(one, method), against_base])
    yield "## A bias of the base model\n"
    yield (
        f"“Four roses” is also the name of a whiskey (paper, section 5.4). From {size:,} images\n"
        "of the prompt “Four roses.”:\n"
    )
    heads = ["method", "seeds", *(metric(name).label for name in SHOWN), "Judge against base"]
    yield table(heads, lines)
    yield from show_sheets(project, BIAS, BIAS.methods, "The same noises, training seed 0:")
