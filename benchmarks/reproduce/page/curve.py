"""Reward against images: what each method makes of how many, on the paper's four prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.reproduce.page import figures
from benchmarks.reproduce.page.estimates import Estimates, estimate, images_to, smooth_curve
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.methods import method_labels
from benchmarks.reproduce.page.sheets import show_sheets
from benchmarks.reproduce.page.tables import (
    SHOWN,
    difference_between,
    difference_cells,
    level_cells,
    table,
    training_seeds,
)
from benchmarks.reproduce.rows import Rows
from benchmarks.reproduce.series import BASE, CURVE, IMAGES
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.evaluation.names import SPLIT_LABELS, MethodLabel, metric

#: Estimates by method and number of images.
Sizes = Mapping[str, Mapping[int, Estimates]]
#: Estimates by split and the experiments that they are of: one, or all.
Prompts = Mapping[tuple[str, tuple[str, ...]], Estimates]
#: What the paper compares, the base model aside.
COMPARED = ("sft", "dpok")
OFFICIAL = "dpok_official"
CONTRASTS = [("dpok", "sft"), ("dpok", OFFICIAL), (OFFICIAL, "sft")]
LINES = """\
![Reward, judge and aesthetic score against images](images/reward_against_images.svg)

Mean over the four training prompts, with 95 % intervals. What the table calls seeds are training
seeds; where there is one, the interval rests on the luck of other runs alone.
"""


def curve_sections(rows: Rows, project: Path, luck: Luck) -> Iterator[str]:
    """Write what each method makes of how many images, and draw it.

    Args:
        rows: The rows of the series `curve`.
        project: The project's folder, in which figures are written.
        luck: That of training.
    """
    found = {
        name: {
            size: one
            for size in CURVE.sizes
            if (one := estimate(rows, size, [name], CURVE.experiments, luck))
        }
        for name in CURVE.methods
    }
    found = {name: sizes for name, sizes in found.items() if sizes}
    if not found:
        return
    images = project / IMAGES
    _draw_lines(images, found)
    yield "## Reward against images\n"
    yield LINES
    yield _levels_table(found)
    yield from _against_each_other(rows, luck)
    means = {
        method: {size: one.cells["image_reward", method].mean for size, one in sizes.items()}
        for method, sizes in found.items()
    }
    yield from images_needed(means, _base(found).cells["image_reward", BASE].mean)
    yield from _prompt_by_prompt(rows, images, luck)
    yield from show_sheets(project, CURVE, CURVE.methods)
    yield from _learning_curves(images, rows)
    yield "## Reward against KL\n"
    yield "![Reward against KL](images/reward_against_kl.svg)\n"
    yield "Mean over the four training prompts; the numbers are images of a prompt.\n"


def _draw_lines(images: Path, found: Sizes) -> None:
    """Draw the metrics, and the reward against KL, by number of images."""
    shown, base = method_labels(CURVE.env), _base(found)
    figures.draw_against_images(
        images / "reward_against_images.svg",
        {
            name: {
                shown[method]: {size: one.cells[name, method] for size, one in sizes.items()}
                for method, sizes in found.items()
            }
            for name in SHOWN
        },
        {name: base.cells[name, BASE].mean for name in SHOWN},
    )
    figures.draw_frontier(
        images / "reward_against_kl.svg",
        {
            shown[method]: [
                (0.0, base.cells["image_reward", BASE].mean, 0),
                *(
                    (one.cells["kl", method].mean, one.cells["image_reward", method].mean, size)
                    for size, one in sizes.items()
                ),
            ]
            for method, sizes in found.items()
        },
    )


def _base(found: Sizes) -> Estimates:
    """Return any of the estimates: all hold the base model's levels."""
    return next(iter(next(iter(found.values())).values()))


def _levels_table(found: Sizes) -> str:
    rows = [["0", BASE_LABEL.label, "", *level_cells(_base(found), BASE)]]
    for size in CURVE.sizes:
        for method, sizes in found.items():
            if size in sizes:
                one, label = sizes[size], method_labels(CURVE.env)[method].label
                rows.append([f"{size:,}", label, str(one.seeds), *level_cells(one, method)])
    heads = [metric(name).label for name in SHOWN]
    return table(["images of a prompt", "method", "seeds", *heads], rows)


def _against_each_other(rows: Rows, luck: Luck) -> Iterator[str]:
    """Write the differences at every size, over the training seeds that both methods have."""
    lines = []
    for ours, theirs in CONTRASTS:
        for size in CURVE.sizes:
            together = estimate(rows, size, [theirs, ours], CURVE.experiments, luck)
            if together is not None:
                names = " − ".join(method_labels(CURVE.env)[name].label for name in (ours, theirs))
                differences = difference_cells(together, ours, theirs)
                lines.append([names, f"{size:,}", str(together.seeds), *differences])
    if lines:
        yield "The differences, bold where the interval does not reach 0:\n"
        heads = [metric(name).label for name in SHOWN]
        yield table(["difference", "images of a prompt", "seeds", *heads], lines)


def images_needed(means: Mapping[str, Mapping[int, float]], start: float) -> Iterator[str]:
    """Say from how many images DPOK is as good as the official code's estimator at its best size.

    Args:
        means: Mean reward by method and number of images.
        start: The base model's mean.
    """
    if "dpok" not in means or OFFICIAL not in means:
        return
    official, number = means[OFFICIAL], metric("image_reward").number
    best = max(official, key=lambda size: official[size])
    level = official[best]
    needed = images_to({0: start, **means["dpok"]}, level)
    first = min(means["dpok"])
    if level <= start < means["dpok"][first]:
        said = "above the base model, which the estimator is not, at its first size"
    elif needed is None:
        said = "not there at any size"
    elif needed < first:  # Between no image and the first size there is no measurement.
        said = f"above that at its first size, {first:,} images"
    else:
        said = f"there from about {needed:,.0f} images"
    yield (
        f"The official code's estimator reaches {number(level)} from {best:,} images. DPOK\n"
        f"as configured here is {said}.\n"
    )
    if best < (last := max(official)):
        yield (
            f"Trained on, the estimator falls to {number(official[last])} from {last:,} images.\n"
        )


def _prompt_by_prompt(rows: Rows, images: Path, luck: Luck) -> Iterator[str]:
    """Write base, SFT and DPOK on every prompt: from the most images, and over the most seeds."""
    sizes = {size: one for size in CURVE.sizes if (one := _of_every_prompt(rows, size, luck))}
    if not sizes:
        return
    largest = max(sizes)
    _draw_prompts(images, sizes[largest])
    yield f"## Prompt by prompt\n\nFrom {largest:,} images, the paper's figures 2 and 3:\n"
    yield "![Reward and aesthetic score of every prompt](images/prompt_by_prompt.svg)\n"
    yield "Base, SFT and DPOK on every prompt, and how much more DPOK has than SFT:\n"
    seeds = {size: min(one.seeds for one in found.values()) for size, found in sizes.items()}
    surest = max(sizes, key=lambda size: (seeds[size], size))
    for size in dict.fromkeys((surest, largest)):
        yield f"### From {size:,} images, {training_seeds(seeds[size])}\n"
        yield _prompts_table(sizes[size])
    yield from _official_by_prompt(rows, luck)


def _of_every_prompt(rows: Rows, size: int, luck: Luck) -> Prompts:
    """Estimate SFT and DPOK on every prompt and on the means; empty where a row is missing."""
    found = {
        (split, experiments): one
        for split in SPLIT_LABELS
        for experiments in [*((name,) for name in CURVE.experiments), CURVE.experiments]
        if (one := estimate(rows, size, COMPARED, experiments, luck, split))
    }
    return found if len(found) == len(SPLIT_LABELS) * (len(CURVE.experiments) + 1) else {}


def _official_by_prompt(rows: Rows, luck: Luck) -> Iterator[str]:
    """Write the official code's estimator on every training prompt, at every size."""
    lines = [
        [f"{size:,}", experiment, str(one.seeds), *level_cells(one, OFFICIAL)]
        for size in CURVE.sizes
        for experiment in CURVE.experiments
        if (one := estimate(rows, size, [OFFICIAL], (experiment,), luck))
    ]
    if lines:
        yield "### The official code's estimator, training prompts\n"
        heads = [metric(name).label for name in SHOWN]
        yield table(["images", "experiment", "seeds", *heads], lines)


def _draw_prompts(images: Path, found: Prompts) -> None:
    """Draw reward and aesthetic score of every prompt as bars."""
    shown = [BASE_LABEL, *(method_labels(CURVE.env)[name] for name in COMPARED)]
    figures.draw_bars(
        images / "prompt_by_prompt.svg",
        {
            (SPLIT_LABELS[split], name): {
                label: {
                    one: found[split, (one,)].cells[name, label.name] for one in CURVE.experiments
                }
                for label in shown
            }
            for name in ("image_reward", "aesthetic")
            for split in SPLIT_LABELS
        },
    )


def _prompts_table(found: Prompts) -> str:
    """Write the levels of base, SFT and DPOK in one cell, and DPOK's lead over SFT in another."""
    lines = []
    for (split, experiments), one in found.items():
        cells = []
        for name in SHOWN:
            number = metric(name).number
            levels = [number(one.cells[name, method].mean) for method in (BASE, *COMPARED)]
            cells += [", ".join(levels), difference_between(one, name, "dpok", "sft")]
        what = experiments[0] if len(experiments) == 1 else "mean"
        lines.append([what, SPLIT_LABELS[split].lower(), *cells])
    heads = [head for name in SHOWN for head in (metric(name).label, "DPOK − SFT")]
    return table(["experiment", "prompts", *heads], lines)


def _learning_curves(images: Path, rows: Rows) -> Iterator[str]:
    """Draw the mean reward of rollouts; methods that draw none have no curve."""
    curves = {name: _longest_curves(rows, name) for name in CURVE.experiments}
    curves = {name: lines for name, lines in curves.items() if lines}
    if curves:
        figures.draw_learning_curves(images / "learning_curves.svg", curves)
        yield "## Learning curves\n"
        yield "![Mean reward of rollouts](images/learning_curves.svg)\n"
        yield (
            "Mean reward of five rollouts that follow one another, training seed 0. SFT draws\n"
            "none: it learns from images of the base model.\n"
        )


def _longest_curves(rows: Rows, experiment: str) -> dict[MethodLabel, list[tuple[int, float]]]:
    curves = {}
    for unit, row in sorted(rows.items(), key=lambda item: item[0].images):
        if (unit.experiment, unit.seed) == (experiment, 0) and row.curve:
            curves[method_labels(CURVE.env)[unit.method]] = smooth_curve(unit.images, row.curve)
    return curves
