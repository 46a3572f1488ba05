"""Write docs/results.md and its figures from the rows in git."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.reproduce.claims import claims_section
from benchmarks.reproduce.reading import Rows
from benchmarks.reproduce.rows import read_rows
from benchmarks.reproduce.sections import (
    ablations_section,
    bias_section,
    curve_sections,
    many_section,
)
from benchmarks.reproduce.series import PAGE, SERIES
from benchmarks.reproduce.tables import table
from dpok_pipeline.evaluation.names import join_words

HEAD = """\
# Results

Reward against images, and what each part of the methods does, on EmojiWorld. This page is written
by `make reproduce` from the rows of figures in `benchmarks/results/reproduce`, one for every
method, prompt, training seed and number of images. `python -m benchmarks.reproduce --page` writes
it again without training anything. Each row names its commit and machine.

The prompts are the paper's four. ImageReward, the aesthetic score and the judge are EmojiWorld's
own models of these ([metrics](metrics.md#evaluation)). Every figure is the mean over 64 images of a
prompt, on noise that no training used; intervals are over images and, where there are several, over
training seeds. Which settings each method has, and how they were found, is in [tuning](tuning.md).
"""


def write_page(project: Path) -> str:
    """Write the page and its figures.

    Args:
        project: The project's folder.

    Returns:
        What to tell the user: where the page is, and how many units it is made of.
    """
    rows = {name: read_rows(project, series) for name, series in SERIES.items()}
    parts = [
        HEAD,
        *claims_section(rows),
        *curve_sections(rows["curve"], project),
        *ablations_section({**rows["curve"], **rows["ablations"]}),
        *many_section(rows["many"], rows["curve"]),
        *bias_section(rows["bias"], project),
        _cost(rows),
        _not_run(rows),
    ]
    (project / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (project / PAGE).write_text("\n".join(parts), encoding="utf-8")
    done, units = sum(map(len, rows.values())), sum(len(one.units()) for one in SERIES.values())
    return f"{PAGE}: written from {done} of {units} units"


def _cost(rows: Mapping[str, Rows]) -> str:
    """Say what processor time the units took, by series and machine."""
    hours: dict[tuple[str, str], float] = {}
    for name, found in rows.items():
        for row in found.values():
            key = (name, row.machine)
            hours[key] = hours.get(key, 0) + sum(row.seconds.values()) / 3600
    if not hours:
        return ""
    lines = [[name, machine, f"{spent:.1f}"] for (name, machine), spent in hours.items()]
    return "## What it cost\n\n" + table(["series", "machine", "core hours"], lines)


def _not_run(rows: Mapping[str, Rows]) -> str:
    """List what has no row yet."""
    missing: dict[tuple[str, str, int, int], list[str]] = {}
    for series in SERIES.values():
        for unit in series.units():
            if unit not in rows[series.name]:
                key = (series.name, unit.method, unit.images, unit.seed)
                missing.setdefault(key, []).append(unit.experiment)
    if not missing:
        return "Every unit has been run.\n"
    lines = [
        [series, f"`{method}`", f"{images:,}", str(seed), join_words(names)]
        for (series, method, images, seed), names in missing.items()
    ]
    heads = ["series", "method", "images", "training seed", "experiments"]
    return "## Not run yet\n\n" + table(heads, lines)
