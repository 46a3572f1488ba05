"""Write docs/results.md and its figures from the rows in git."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.reproduce.maker import Maker
from benchmarks.reproduce.page.bias import bias_section
from benchmarks.reproduce.page.claims import claims_section
from benchmarks.reproduce.page.curve import curve_sections
from benchmarks.reproduce.page.luck import FEWEST, SHORT, Luck, Runs, measure_luck
from benchmarks.reproduce.page.many import many_section
from benchmarks.reproduce.page.parts import ablations_section, kl_section
from benchmarks.reproduce.page.tables import table
from benchmarks.reproduce.rows import Rows, read_rows, with_partners
from benchmarks.reproduce.series import ABLATIONS, BIAS, CURVE, KL, MANY, PAGE, SERIES, Series
from dpok_pipeline.evaluation.names import join_words

HEAD = """\
# Results

Reward against images, and what each part of the methods does, on EmojiWorld. This page is written
by `make reproduce` from the rows of figures in `benchmarks/results/reproduce`, one for every
method, prompt, training seed and number of images. `python -m benchmarks.reproduce --page` writes
it again without training anything. Each row names its commit and machine.

ImageReward, the aesthetic score and the judge are EmojiWorld's own models of these
([metrics](metrics.md#evaluation)). Where nothing else is said, prompts are the paper's four, and a
figure is the mean over 64 images of a prompt, on noise that no training used. Which settings each
method has, and how they were found, is in [tuning](tuning.md).
"""


def write_page(project: Path) -> str:
    """Write the page and its figures.

    Args:
        project: The project's folder.

    Returns:
        What to tell the user: where the page is, and how many units it is made of.
    """
    rows = {name: _current_rows(project, series) for name, series in SERIES.items()}
    luck = measure_luck(rows)
    parts = [
        HEAD,
        *([_intervals(luck)] if luck.spreads else []),
        *claims_section(rows, luck),
        *curve_sections(rows[CURVE.name], project, luck),
        *ablations_section(with_partners(rows, ABLATIONS), project, luck),
        *kl_section(with_partners(rows, KL), project, luck),
        *many_section(rows[MANY.name], rows[CURVE.name], luck),
        *bias_section(rows[BIAS.name], project, luck),
        _cost(rows),
        _not_run(rows),
    ]
    (project / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (project / PAGE).write_text("\n".join(parts), encoding="utf-8")
    done, units = sum(map(len, rows.values())), sum(len(one.units()) for one in SERIES.values())
    return f"{PAGE}: written from {done} of {units} units"


def _current_rows(project: Path, series: Series) -> Rows:
    """Read the rows that today's settings would give; others count as not run."""
    rows, maker = read_rows(project, series), Maker(project, series)
    return {unit: row for unit, row in rows.items() if row.identity == maker.identity(unit)}


def _intervals(luck: Luck) -> str:
    """Say what intervals cover, and how large the luck of training was found to be."""
    found = {
        long: [
            f"{spread.deviation:.2f} for `{runs.whose}` ({spread.freedom})"
            for runs, spread in luck.spreads.items()
            if runs == Runs(runs.whose, long, "image_reward", "train")
            and (runs.whose in luck.varied and spread.freedom >= FEWEST)
        ]
        for long in (False, True)
    }
    when = {False: f"in runs of up to {SHORT:,} images", True: "in longer ones"}
    lengths = [f"{when[long]} of {join_words(lines)}" for long, lines in found.items() if lines]
    measured = (
        "From one seed to another a prompt's mean ImageReward has a standard deviation, "
        f"{', '.join(lengths)} (in brackets the degrees of freedom). "
    )
    text = (
        "Intervals are 95 %. They cover the luck of the noises, by a bootstrap paired over "
        "methods, and the luck of training, which is measured on all runs that were made with "
        f"several seeds. {measured if lengths else ''}A method with fewer than {FEWEST} degrees of "
        "freedom of its own is taken to be as steady as the one that it varies, `dpok` or `sft`, "
        "its own runs counted in; one that varies neither, as all methods together."
    )
    return textwrap.fill(text, 95, break_on_hyphens=False) + "\n"


def _cost(rows: Mapping[str, Rows]) -> str:
    """Say what processor time the units took, by series and machine, and which code made them."""
    hours: dict[tuple[str, str], float] = {}
    for name, found in rows.items():
        for row in found.values():
            key = (name, row.machine)
            hours[key] = hours.get(key, 0) + sum(row.seconds.values()) / 3600
    if not hours:
        return ""
    lines = [[name, machine, f"{spent:.1f}"] for (name, machine), spent in hours.items()]
    lines.append(["all", "", f"{sum(hours.values()):.1f}"])
    commits = Counter(row.commit for found in rows.values() for row in found.values())
    named = join_words([f"`{commit}` ({count})" for commit, count in commits.most_common()])
    changed = "A `+` stands for changes that were not in git.\n" if "+" in named else ""
    return (
        "## What it cost, and which code made it\n\n"
        + table(["series", "machine", "core hours"], lines)
        + "\nThe time of each unit is in its row, for a run that was stopped what came after.\n"
        "A row counts while its settings and models are today’s; its code is not compared. The\n"
        f"rows are of these commits: {named}.\n{changed}"
    )


def _not_run(rows: Mapping[str, Rows]) -> str:
    """List what has no row yet."""
    missing: dict[tuple[str, str, int], dict[int, list[str]]] = {}
    for series in SERIES.values():
        for unit in series.units():
            if unit not in rows[series.name]:
                sizes = missing.setdefault((series.name, unit.method, unit.seed), {})
                sizes.setdefault(unit.images, []).append(unit.experiment)
    if not missing:
        return "Every unit has been run.\n"
    lines = []
    for (series_name, method, seed), sizes in missing.items():
        # Numbers of images that lack the same experiments share a line.
        for experiments in dict.fromkeys(map(tuple, sizes.values())):
            images = [f"{size:,}" for size, names in sizes.items() if tuple(names) == experiments]
            line = [series_name, f"`{method}`", str(seed), join_words(images)]
            lines.append([*line, join_words([*experiments])])
    heads = ["series", "method", "training seed", "images", "experiments"]
    return "## Not run yet\n\n" + table(heads, lines)
