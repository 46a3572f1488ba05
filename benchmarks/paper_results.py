"""The numbers that the DPOK paper states, beside those of this project's own runs.

Only what text or tables state: the single-prompt bars of its figures 2 and 3 carry no numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import BASE, metric
from dpok_pipeline.evaluation.reading import overall

BEGIN, END = "<!-- ours -->", "<!-- /ours -->"
HEAD = "| preset | prompts | method | metric | paper | ours | source |"
EMPTY = "not run yet"
#: What the table calls the methods, whatever a configuration calls them.
LABELS = {BASE.name: BASE.label, "dpok": "DPOK"}


class PaperResult(NamedTuple):
    """One number of the paper.

    Attributes:
        preset: The preset of conf/paper whose runs it is compared with.
        dataset: The comparison that holds our number.
        prompts: The prompts in words.
        method: Name of the method: `base` or `dpok`.
        metric: Name of the metric.
        value: The paper's number, a mean over training prompts.
        source: Where the paper states it.
    """

    preset: str
    dataset: str
    prompts: str
    method: str
    metric: str
    value: float
    source: str

    @property
    def row(self) -> tuple[str, ...]:
        """The table's cells before our number, by which a row is found again."""
        names = (LABELS[self.method], metric(self.metric).label)
        return (f"`{self.preset}`", self.prompts, *names, f"{self.value:.2f}")


FOUR, MOON = "the four single prompts, mean", "A dog on the moon."
SINGLE = {"color", "composition", "count", "location"}
COCO, DRAWBENCH = "104 COCO captions (a substitute list)", "183 DrawBench prompts"
RESULTS = (
    PaperResult("official_code", "comparison", FOUR, "base", "image_reward", 0.23, "v1, table"),
    PaperResult("official_code", "comparison", FOUR, "dpok", "image_reward", 1.25, "v1, table"),
    PaperResult("official_code", "location.comparison", MOON, "dpok", "image_reward", 1.51, "A.5"),
    PaperResult("official_code", "location.comparison", MOON, "dpok", "aesthetic", 5.60, "A.5"),
    PaperResult("paper_reading", "location.comparison", MOON, "dpok", "image_reward", 0.86, "A.5"),
    PaperResult("paper_reading", "location.comparison", MOON, "dpok", "aesthetic", 5.57, "A.5"),
    PaperResult("coco", "coco.comparison", COCO, "base", "image_reward", 0.22, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "dpok", "image_reward", 0.55, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "base", "aesthetic", 5.39, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "dpok", "aesthetic", 5.43, "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "base", "image_reward", 0.13,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "dpok", "image_reward", 0.58,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "base", "aesthetic", 5.31,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "dpok", "aesthetic", 5.35,
                "Table 1"),
)  # fmt: skip
PRESETS = tuple(dict.fromkeys(result.preset for result in RESULTS))


def paper_table(numbers: Mapping[tuple[str, ...], str]) -> str:
    """Write the table in Markdown.

    Args:
        numbers: Our number for a result's `row`; the other rows are marked as not run.
    """
    lines = [HEAD, "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in RESULTS:
        cells = (*result.row, numbers.get(result.row, EMPTY), result.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def our_numbers(preset: str, comparisons: Mapping[str, pd.DataFrame]) -> dict[tuple[str, ...], str]:
    """Read our numbers for one preset, each with its 95 % interval.

    Args:
        preset: The preset whose results are read.
        comparisons: Comparisons of runs with the preset, by the names of their datasets.

    Returns:
        The text of each number by its result's `row`.
    """
    numbers = {}
    for result in RESULTS:
        if result.preset == preset and _is_complete(result, comparisons):
            levels = overall(comparisons[result.dataset], "train")
            value = levels.get((result.metric, result.method))
            if value is not None:
                numbers[result.row] = _write(value)
    return numbers


def _is_complete(result: PaperResult, comparisons: Mapping[str, pd.DataFrame]) -> bool:
    """Say whether our number is there, and of all prompts that the paper's is a mean over."""
    if result.dataset not in comparisons:
        return False
    if result.prompts != FOUR:
        return True
    return set(comparisons[result.dataset]["experiment"]) - {"all"} == SINGLE


def fill_page(page: str, numbers: Mapping[tuple[str, ...], str]) -> str:
    """Put numbers into a page's table; what it held of other presets stays.

    Args:
        page: The page in Markdown.
        numbers: As `our_numbers` returns them.

    Raises:
        InputError: The page has no such table.
    """
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"docs/stable_diffusion.md: no table between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{paper_table({**_read(table), **numbers})}\n{END}{after}"


def _read(table: str) -> dict[tuple[str, ...], str]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {tuple(cells[:5]): cells[5] for cells in rows if len(cells) == 7}


def _write(value: Interval) -> str:
    return f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})".replace("-", "−")
