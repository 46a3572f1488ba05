"""Sheets of pictures on the page: what each method makes of the same noises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.reproduce.page.methods import method_labels
from benchmarks.reproduce.pictures import write_sheets
from benchmarks.reproduce.series import IMAGES, Series


def show_sheets(
    project: Path, series: Series, methods: Sequence[str], part: str = ""
) -> Iterator[str]:
    """Write a series' sheets and show them below a line; nothing where there are none.

    Args:
        project: The project's folder.
        series: Whose pictures they are.
        methods: Names of the methods, in the order of the rows.
        part: Names the first of them and its variants, where they are not all; for the files.
    """
    labels = [method_labels(series.env)[name] for name in methods]
    sheets = write_sheets(project, series, project / IMAGES, labels, part)
    made = f"What {labels[0].label} and its variants make" if part else "What each method makes"
    if sheets:
        yield f"{made} of the same noises, training seed {series.pictured[0].seed}:\n"
    for sheet in sheets:
        yield f"![{made} of the same noises](images/{sheet.name})\n"
