"""The sections of docs/results.md: what the rows of each series say, as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.reproduce import figures
from benchmarks.reproduce.pictures import write_sheets
from benchmarks.reproduce.reading import (
    Estimates,
    Rows,
    estimate,
    estimate_scores,
    images_to,
    smooth_curve,
)
from benchmarks.reproduce.rows import scores_of
from benchmarks.reproduce.series import ABLATIONS, BASE, BIAS, CURVE, IMAGES, MANY, Series
from benchmarks.reproduce.tables import difference_between, level_cell, method_labels, table
from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.evaluation.names import SPLIT_LABELS, MethodLabel, join_words, metric
from dpok_pipeline.evaluation.reading import Cells

SHOWN = ("image_reward", "judge", "aesthetic")
COMPARED = SHOWN[:2]
#: The paper's four questions, in the order in which a sentence is asked about them.
QUESTIONS = ("color", "composition", "count", "location")
LINES = """\
![Reward, judge and aesthetic score against images](images/reward_against_images.svg)

Mean over the four training prompts. Bands are 95 % intervals; a point has as many training seeds as
the table says.
"""


def curve_sections(rows: Rows, project: Path) -> Iterator[str]:
    """Write what each method makes of how many images, and draw it.

    Args:
        rows: The rows of the series `curve`.
        project: The project's folder, in which figures are written.
    """
    found = {
        name: {
            size: found
            for size in CURVE.sizes
            if (found := estimate(rows, size, [name], CURVE.experiments))
        }
        for name in CURVE.methods
    }
    found = {name: sizes for name, sizes in found.items() if sizes}
    if not found:
        return
    _draw(project / IMAGES, rows, found)
    yield "## Reward against images\n"
    yield LINES
    yield _levels_table(found)
    yield from _against_each_other(rows, found)
    yield from _pictures(CURVE, project)
    yield from _learning_curves(project / IMAGES, rows)
    yield "## Reward against KL\n"
    yield "![Reward against KL](images/reward_against_kl.svg)\n"
    yield "Mean over the four training prompts; the numbers are images of a prompt.\n"


def _draw(images: Path, rows: Rows, found: Mapping[str, Mapping[int, Estimates]]) -> None:
    shown = method_labels(CURVE.env)
    base = _base_cells(found)
    figures.draw_against_images(
        images / "reward_against_images.svg",
        {
            name: {
                shown[method]: {size: one.cells[name, method] for size, one in sizes.items()}
                for method, sizes in found.items()
            }
            for name in SHOWN
        },
        {name: base[name, BASE].mean for name in SHOWN},
    )
    figures.draw_frontier(
        images / "reward_against_kl.svg",
        {
            shown[method]: [
                (0.0, base["image_reward", BASE].mean, 0),
                *(
                    (one.cells["kl", method].mean, one.cells["image_reward", method].mean, size)
                    for size, one in sizes.items()
                ),
            ]
            for method, sizes in found.items()
        },
    )


def _pictures(series: Series, project: Path) -> Iterator[str]:
    """Show what each method makes of the same noises, as far as the pictures have been kept."""
    shown = method_labels(series.env)
    methods = [shown[name] for name in series.methods]
    sheets = write_sheets(project, series, project / IMAGES, methods)
    if sheets:
        yield "The same noises, training seed 0:\n"
    for sheet in sheets:
        yield f"![What each method makes of the same noises](images/{sheet.name})\n"


def _learning_curves(images: Path, rows: Rows) -> Iterator[str]:
    """Draw the mean reward of rollouts; methods that draw none have no curve."""
    curves = {name: _longest_curves(rows, name) for name in CURVE.experiments}
    curves = {name: lines for name, lines in curves.items() if lines}
    if curves:
        figures.draw_learning_curves(images / "learning_curves.svg", curves)
        yield "## Learning curves\n"
        yield "![Mean reward of rollouts](images/learning_curves.svg)\n"
        yield "Mean reward of five rollouts that follow one another, training seed 0.\n"


def _longest_curves(rows: Rows, experiment: str) -> dict[MethodLabel, list[tuple[int, float]]]:
    curves = {}
    for unit, row in sorted(rows.items(), key=lambda item: item[0].images):
        if (unit.experiment, unit.seed) == (experiment, 0) and row.curve:
            curves[method_labels(CURVE.env)[unit.method]] = smooth_curve(unit.images, row.curve)
    return curves


def _base_cells(found: Mapping[str, Mapping[int, Estimates]]) -> Cells:
    """Return any of the estimates: all hold the base model's levels."""
    sizes = next(iter(found.values()))
    return next(iter(sizes.values())).cells


def _levels_table(found: Mapping[str, Mapping[int, Estimates]]) -> str:
    base = _base_cells(found)
    rows = [["0", BASE_LABEL.label, "", *(level_cell(name, base[name, BASE]) for name in SHOWN)]]
    for size in CURVE.sizes:
        for method, sizes in found.items():
            if size in sizes:
                levels = [level_cell(name, sizes[size].cells[name, method]) for name in SHOWN]
                label = method_labels(CURVE.env)[method].label
                rows.append([f"{size:,}", label, str(sizes[size].seeds), *levels])
    heads = [metric(name).label for name in SHOWN]
    return table(["images of a prompt", "method", "training seeds", *heads], rows)


def _against_each_other(rows: Rows, found: Mapping[str, Mapping[int, Estimates]]) -> Iterator[str]:
    """Write the differences at every size, and from how many images on levels are reached."""
    lines = []
    for ours, theirs in [("dpok", "sft"), ("dpok", "dpok_official"), ("dpok_official", "sft")]:
        for size in CURVE.sizes:
            together = estimate(rows, size, [theirs, ours], CURVE.experiments)
            if together is None:
                continue
            names = " − ".join(method_labels(CURVE.env)[name].label for name in (ours, theirs))
            differences = [difference_between(together, name, ours, theirs) for name in COMPARED]
            lines.append([names, f"{size:,}", str(together.seeds), *differences])
    if lines:
        heads = [metric(name).label for name in COMPARED]
        yield table(["difference", "images of a prompt", "training seeds", *heads], lines)
    yield from _by_prompt(rows)
    means = {
        method: {size: one.cells["image_reward", method].mean for size, one in sizes.items()}
        for method, sizes in found.items()
    }
    yield from _images_needed(means, _base_cells(found)["image_reward", BASE].mean)


def _by_prompt(rows: Rows) -> Iterator[str]:
    """Write DPOK against SFT prompt by prompt, at the largest size that both have."""
    for size in reversed(CURVE.sizes):
        found = {
            experiment: one
            for experiment in CURVE.experiments
            if (one := estimate(rows, size, ["sft", "dpok"], [experiment]))
        }
        if len(found) < len(CURVE.experiments):
            continue
        yield f"DPOK against SFT, prompt by prompt, from {size:,} images:\n"
        lines = [
            [
                f"`{experiment}`",
                *(difference_between(one, name, "dpok", "sft") for name in COMPARED),
            ]
            for experiment, one in found.items()
        ]
        yield table(["experiment", *(metric(name).label for name in COMPARED)], lines)
        return


def _images_needed(means: Mapping[str, Mapping[int, float]], start: float) -> Iterator[str]:
    if "dpok" not in means or "dpok_official" not in means:
        return
    official = means["dpok_official"]
    last = max(official)
    needed = images_to(means["dpok"], official[last], start)
    first = min(means["dpok"])
    if needed is None:
        said = "does not reach it"
    elif needed < first:  # Between no image and the first size there is no measurement.
        said = f"is above that at its first size, {first:,} images"
    else:
        said = f"has it from about {needed:,.0f} images"
    yield (
        f"The official code's estimator reaches {official[last]:.2f} from {last:,} images. DPOK\n"
        f"as configured here {said}.\n"
    )


def ablations_section(rows: Rows) -> Iterator[str]:
    """Write what each part of DPOK and of SFT does.

    Args:
        rows: The rows of the series `ablations`, and of the curve DPOK's and SFT's own.
    """
    if not any(unit.method in ABLATIONS.methods for unit in rows):
        return
    (size,) = ABLATIONS.sizes
    yield "## What each part does\n"
    yield f"From {size:,} images of a prompt; first the mean over the four.\n"
    yield _ablation_levels(rows, ABLATIONS.experiments)
    for experiments in {*ABLATIONS.only.values()}:
        yield f"The same for {join_words([f'`{name}`' for name in experiments])}:\n"
        yield _ablation_levels(rows, experiments)


def _ablation_levels(rows: Rows, experiments: Sequence[str]) -> str:
    (size,), shown = ABLATIONS.sizes, (*SHOWN, "kl")
    lines = []
    for name in dict.fromkeys(["sft", "dpok", *ABLATIONS.methods]):
        one = estimate(rows, size, [name], experiments)
        if one is not None:
            levels = [level_cell(scale, one.cells[scale, name]) for scale in shown]
            lines.append([method_labels(ABLATIONS.env)[name].label, str(one.seeds), *levels])
    return table(["method", "training seeds", *(metric(name).label for name in shown)], lines)


def many_section(rows: Rows, single: Rows) -> Iterator[str]:
    """Write what one model for many prompts learns, by kind of question.

    Args:
        rows: The rows of the series `many`.
        single: The rows of the curve, whose models have a prompt each.
    """
    for size in reversed(MANY.sizes):
        methods = [*MANY.methods]
        scores = scores_of(rows, size, methods, MANY.experiments)
        if scores.empty:
            continue
        prompts = scores.groupby("split")["prompt_id"].nunique()
        yield "## One model for many prompts\n"
        yield (
            f"{prompts['train']} training prompts, {size // prompts['train']} images of each, and "
            f"{prompts['unseen']} unseen ones.\nDifferences are to the base model.\n"
        )
        lines = []
        for split in ("train", "unseen"):
            for question in (None, *QUESTIONS):
                part = (
                    scores
                    if question is None
                    else scores[scores["prompt"].map(_question) == question]
                )
                one = estimate_scores(part, methods, split)
                if one is not None:
                    cells = [
                        difference_between(one, name, method, BASE)
                        for method in methods
                        for name in COMPARED
                    ]
                    lines.append([SPLIT_LABELS[split].lower(), question or "all", *cells])
        heads = [
            f"{method_labels(MANY.env)[m].label}, {metric(n).label}"
            for m in methods
            for n in COMPARED
        ]
        yield table(["prompts", "question", *heads], lines)
        yield from _many_against_single(rows, single, size, size // int(prompts["train"]))
        return


def _many_against_single(rows: Rows, single: Rows, size: int, each: int) -> Iterator[str]:
    """Write what the model of many prompts makes of the four, beside the models of one each."""
    lines = []
    for method in MANY.methods:
        ours = scores_of(rows, size, [method], MANY.experiments)
        for experiment in CURVE.experiments:
            theirs = scores_of(single, each, [method], [experiment])
            if theirs.empty:
                continue
            prompt = theirs[theirs["split"] == "train"]["prompt"].iloc[0]
            means = [
                part[(part["prompt"] == prompt) & (part["method"] == method)][name].mean()
                for name in COMPARED
                for part in (ours, theirs)
            ]
            cells = [metric(name).number for name in COMPARED for _ in range(2)]
            written = [number(mean) for number, mean in zip(cells, means, strict=True)]
            lines.append([method_labels(MANY.env)[method].label, prompt, *written])
    if lines:
        yield f"The four beside models of one prompt each, from {each:,} images of a prompt:\n"
        heads = [f"{metric(name).label}, {of}" for name in COMPARED for of in ("many", "one")]
        yield table(["method", "prompt", *heads], lines)


def bias_section(rows: Rows, project: Path) -> Iterator[str]:
    """Write whether the base model's bias is mended.

    Args:
        rows: The rows of the series `bias`.
        project: The project's folder, in which figures are written.
    """
    (size,) = BIAS.sizes
    lines: list[list[str]] = []
    for method in BIAS.methods:
        one = estimate(rows, size, [method], BIAS.experiments)
        if one is not None:
            if not lines:
                base = [level_cell(name, one.cells[name, BASE]) for name in SHOWN]
                lines.append([BASE_LABEL.label, "", *base, ""])
            levels = [level_cell(name, one.cells[name, method]) for name in SHOWN]
            label = method_labels(BIAS.env)[method].label
            lines.append(
                [label, str(one.seeds), *levels, difference_between(one, "judge", method, BASE)]
            )
    if lines:
        yield "## A bias of the base model\n"
        yield f'"Four roses." is mostly answered by glasses of whiskey. From {size:,} images:\n'
        heads = [metric(name).label for name in SHOWN]
        yield table(["method", "training seeds", *heads, "judge against base"], lines)
        yield from _pictures(BIAS, project)


def _question(prompt: str) -> str:
    """Say which of the paper's four questions a sentence of EmojiWorld's grammar asks."""
    caption = parse(prompt)
    if caption is None:
        return "other"
    asked = (caption.colour, caption.other, caption.count > 1, caption.place)
    return next((name for name, part in zip(QUESTIONS, asked, strict=True) if part), "other")
