"""The numbers that the DPOK paper states, beside those of this project's own runs.

Only what text or tables state: the single-prompt bars of its figures 2 and 3 carry no numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.comparison import overall
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MODEL_LABELS, metric

BEGIN, END = "<!-- ours -->", "<!-- /ours -->"
HEAD = "| preset | prompts | model | metric | paper | ours | source |"
EMPTY = "not run yet"


class PaperResult(NamedTuple):
    """One number of the paper.

    Attributes:
        preset: of conf/paper, whose runs it is to be compared with.
        dataset: the comparison that holds ours.
        prompts: in words.
        model: `base` or `rl`.
        metric: column.
        value: the paper's, a mean over training prompts.
        source: where the paper states it.
    """

    preset: str
    dataset: str
    prompts: str
    model: str
    metric: str
    value: float
    source: str

    @property
    def row(self) -> tuple[str, ...]:
        """The table's cells before ours, by which a row is found again."""
        names = (MODEL_LABELS[self.model], metric(self.metric).label)
        return (f"`{self.preset}`", self.prompts, *names, f"{self.value:.2f}")


FOUR, MOON = "the four single prompts, mean", "A dog on the moon."
SINGLE = {"color", "composition", "count", "location"}
COCO, DRAWBENCH = "104 COCO captions (a substitute list)", "183 DrawBench prompts"
RESULTS = (
    PaperResult("official_code", "comparison", FOUR, "base", "image_reward", 0.23, "v1, table"),
    PaperResult("official_code", "comparison", FOUR, "rl", "image_reward", 1.25, "v1, table"),
    PaperResult("official_code", "location.comparison", MOON, "rl", "image_reward", 1.51, "A.5"),
    PaperResult("official_code", "location.comparison", MOON, "rl", "aesthetic", 5.60, "A.5"),
    PaperResult("paper_reading", "location.comparison", MOON, "rl", "image_reward", 0.86, "A.5"),
    PaperResult("paper_reading", "location.comparison", MOON, "rl", "aesthetic", 5.57, "A.5"),
    PaperResult("coco", "coco.comparison", COCO, "base", "image_reward", 0.22, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "rl", "image_reward", 0.55, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "base", "aesthetic", 5.39, "Table 1"),
    PaperResult("coco", "coco.comparison", COCO, "rl", "aesthetic", 5.43, "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "base", "image_reward", 0.13,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "rl", "image_reward", 0.58,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "base", "aesthetic", 5.31,
                "Table 1"),
    PaperResult("drawbench", "drawbench.comparison", DRAWBENCH, "rl", "aesthetic", 5.35,
                "Table 1"),
)  # fmt: skip
PRESETS = tuple(dict.fromkeys(result.preset for result in RESULTS))


def paper_table(ours: Mapping[tuple[str, ...], str]) -> str:
    """Write the table in Markdown.

    Args:
        ours: our number for a result's `row`; the others are marked as not run.
    """
    lines = [HEAD, "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in RESULTS:
        cells = (*result.row, ours.get(result.row, EMPTY), result.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def our_numbers(preset: str, comparisons: Mapping[str, pd.DataFrame]) -> dict[tuple[str, ...], str]:
    """Read our numbers for one preset, each with its 95 % interval.

    Args:
        preset: whose results.
        comparisons: the preset's datasets, by name.
    """
    found = {}
    for result in RESULTS:
        if result.preset == preset and _complete(result, comparisons):
            levels = overall(comparisons[result.dataset], "train")
            value = levels.get((result.metric, result.model))
            if value is not None:
                found[result.row] = _written(value)
    return found


def _complete(result: PaperResult, comparisons: Mapping[str, pd.DataFrame]) -> bool:
    """Whether ours is there, and of all the prompts that the paper's number is a mean over."""
    if result.dataset not in comparisons:
        return False
    return result.prompts != FOUR or set(comparisons[result.dataset]["experiment"]) >= SINGLE


def fill_page(page: str, ours: Mapping[tuple[str, ...], str]) -> str:
    """Put numbers into a page's table; what it held of other presets stays.

    Raises:
        InputError: the page has no such table.
    """
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"docs/stable_diffusion.md: no table between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{paper_table({**_read(table), **ours})}\n{END}{after}"


def _read(table: str) -> dict[tuple[str, ...], str]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {tuple(cells[:5]): cells[5] for cells in rows if len(cells) == 7}


def _written(value: Interval) -> str:
    return f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})".replace("-", "−")
