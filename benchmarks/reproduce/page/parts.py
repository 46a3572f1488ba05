"""What each part of DPOK and of SFT does, and what becomes of DPOK without the KL term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.reproduce.page import figures
from benchmarks.reproduce.page.estimates import Estimates, difference, estimate
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.methods import method_labels, methods_of
from benchmarks.reproduce.page.sheets import show_sheets
from benchmarks.reproduce.page.tables import (
    SHOWN,
    difference_between,
    difference_cell,
    level_cells,
    table,
    training_seeds,
)
from benchmarks.reproduce.rows import Rows, scores_of
from benchmarks.reproduce.series import ABLATIONS, BASE, IMAGES, KL
from dpok_pipeline.evaluation.names import BASE as BASE_LABEL
from dpok_pipeline.evaluation.names import join_words, metric

#: What a part of a method gains, and what it may cost.
GAIN_AND_COST = ("image_reward", "aesthetic")


def ablations_section(rows: Rows, project: Path, luck: Luck) -> Iterator[str]:
    """Write what each part of DPOK and of SFT does.

    Args:
        rows: The rows of the series `ablations`, and of the curve DPOK's and SFT's own.
        project: The project's folder, in which figures are written.
        luck: That of training.
    """
    if not any(unit.method in ABLATIONS.methods for unit in rows):
        return
    (size,) = ABLATIONS.sizes
    seeds = {
        seed
        for seed in ABLATIONS.largest
        if ABLATIONS.experiments_of(seed) == ABLATIONS.experiments
    }
    # DPOK and SFT have further seeds, with which their levels would be other runs' than the parts'.
    same = {unit: row for unit, row in rows.items() if unit.seed in seeds}
    found = _estimates(same, size, ABLATIONS.methods, ABLATIONS.experiments, luck)
    yield "## What each part does\n"
    yield (
        f"From {size:,} images of a prompt, the mean over the four, {training_seeds(len(seeds))}\n"
        "of all. Each method differs from DPOK or from SFT by what its name says and keeps their\n"
        "learning rate, which was tuned for these two alone; RWR has settings of its own. Bold\n"
        "are differences whose interval does not reach 0.\n"
    )
    yield _parts_table(found, "dpok")
    yield _parts_table(found, "sft")
    _draw(project / IMAGES, found)
    yield "![Aesthetic score against reward, each part](images/ablations.svg)\n"
    yield from _no_setting_of_sft(same, size, luck)
    for experiment in dict.fromkeys(name for names in ABLATIONS.only.values() for name in names):
        yield from _seed_by_seed(rows, size, experiment)
    for reference in ("dpok", "sft"):
        yield from show_sheets(project, ABLATIONS, (reference, *_varying(reference)), reference)


def kl_section(rows: Rows, project: Path, luck: Luck) -> Iterator[str]:
    """Write what DPOK becomes in a long run without the KL term, and with more of it.

    Args:
        rows: The rows of the series `kl`, and of the curve DPOK's own.
        project: The project's folder, in which figures are written.
        luck: That of training.
    """
    if not any(unit.method in KL.methods for unit in rows):
        return
    yield "## Reward without the KL term\n"
    prompts = join_words([f"`{name}`" for name in KL.experiments])
    own = methods_of(KL.env)["dpok"].training.model_dump()["kl_weight"]
    yield f"On the prompt of {prompts}, as in the paper's figure 4. DPOK's own β is {own:g}.\n"
    methods = ("dpok", *KL.methods)
    lines, scales = [], ("image_reward", "judge", "aesthetic", "saturation", "kl")
    for size in KL.sizes:
        for name in methods:
            one = estimate(rows, size, [name], KL.experiments, luck)
            varied = name != "dpok"
            both = estimate(rows, size, ["dpok", name], KL.experiments, luck) if varied else None
            if one is not None:
                label = method_labels(KL.env)[name].label
                gained = [
                    difference_between(both, scale, name, "dpok") if both else ""
                    for scale in GAIN_AND_COST
                ]
                levels = level_cells(one, name, scales)
                lines.append([f"{size:,}", label, str(one.seeds), *levels, *gained])
    heads = ["images", "method", "seeds", *(metric(scale).label for scale in scales)]
    compared = [f"{metric(scale).label} against DPOK" for scale in GAIN_AND_COST]
    yield table([*heads, *compared], lines)
    yield "Levels are over all seeds of a method, differences over those that both have.\n"
    yield from show_sheets(project, KL, methods)


def _estimates(
    rows: Rows, size: int, methods: Sequence[str], experiments: Sequence[str], luck: Luck
) -> dict[str, Estimates]:
    """Estimate each method together with the one that it differs from."""
    found = {
        name: estimate(rows, size, sorted({_reference(name), name}), experiments, luck)
        for name in ("sft", "dpok", *methods)
    }
    return {name: one for name, one in found.items() if one is not None}


def _reference(method: str) -> str:
    return "sft" if methods_of(ABLATIONS.env)[method].algorithm == "sft" else "dpok"


def _varying(reference: str) -> list[str]:
    """Return the names of the methods that vary a reference."""
    return [name for name in ABLATIONS.methods if _reference(name) == reference]


def _parts_table(found: Mapping[str, Estimates], reference: str) -> str:
    """Write the levels of a reference and of its variants, and how they differ."""
    shown = (*SHOWN, "kl")
    lines = []
    for name, one in found.items():
        if _reference(name) == reference:
            gained = [
                "" if name == reference else difference_between(one, scale, name, reference)
                for scale in GAIN_AND_COST
            ]
            label = method_labels(ABLATIONS.env)[name].label
            lines.append([label, str(one.seeds), *level_cells(one, name, shown), *gained])
    label = method_labels(ABLATIONS.env)[reference].label
    heads = [metric(name).label for name in shown]
    compared = [f"{metric(name).label} against {label}" for name in GAIN_AND_COST]
    return table(["method", "seeds", *heads, *compared], lines)


def _draw(images: Path, found: Mapping[str, Estimates]) -> None:
    """Draw the aesthetic score of base model and methods against their reward."""
    labels = method_labels(ABLATIONS.env)
    points = {
        labels[name]: (one.cells["image_reward", name], one.cells["aesthetic", name])
        for name, one in found.items()
    }
    base = next(iter(found.values()), None)
    if base is not None:
        points[BASE_LABEL] = (base.cells["image_reward", BASE], base.cells["aesthetic", BASE])
    figures.draw_scatter(images / "ablations.svg", points)


def _no_setting_of_sft(rows: Rows, size: int, luck: Luck) -> Iterator[str]:
    """Say whether a setting of SFT has both DPOK's reward and its aesthetic score."""
    lines = []
    for name in ("sft", *_varying("sft")):
        one = estimate(rows, size, ["dpok", name], ABLATIONS.experiments, luck)
        if one is not None:
            both = {scale: difference(one, scale, "dpok", name) for scale in GAIN_AND_COST}
            cells = [difference_cell(value, scale) for scale, value in both.items()]
            behind = "yes" if any(value.low > 0 for value in both.values()) else "not shown"
            label = method_labels(ABLATIONS.env)[name].label
            lines.append([label, str(one.seeds), *cells, behind])
    if lines:
        yield (
            "The paper says that no γ gives SFT both DPOK's reward and its aesthetic score (5.3).\n"
            "How much more DPOK has of each:\n"
        )
        heads = ["DPOK −", "seeds", "ImageReward", "Aesthetic score", "behind DPOK in one of both"]
        yield table(heads, lines)


def _seed_by_seed(rows: Rows, size: int, experiment: str) -> Iterator[str]:
    """Show each training seed of a prompt by itself: a mean hides that one of them collapsed."""
    seeds, shown = [*ABLATIONS.largest], ["image_reward", "judge"]
    base, lines = None, []
    for name in ("dpok", "sft", *ABLATIONS.methods):
        scores = scores_of(rows, size, [name], [experiment])
        if set(seeds) <= set(scores.get("training_seed", [])):
            of_training = scores[scores["split"] == "train"]
            means = of_training.groupby(["method", "training_seed"])[shown].mean()
            base, own = means.loc[BASE].iloc[0], means.loc[name].loc[seeds]
            label = method_labels(ABLATIONS.env)[name].label
            rewards = [_bold_below(base["image_reward"], value) for value in own["image_reward"]]
            lines.append([label, *rewards, *map(metric("judge").number, own["judge"])])
    if base is not None:
        reward, judged = (metric(scale).number(base[scale]) for scale in shown)
        yield (
            f"Seed by seed on the prompt of `{experiment}`, where the base model has {reward} of\n"
            f"ImageReward and the judge finds {judged} of its pictures right. Runs that end below\n"
            "its reward are bold:\n"
        )
        heads = [f"{metric(scale).label}, seed {seed}" for scale in shown for seed in seeds]
        yield table(["method", *heads], lines)


def _bold_below(base: float, value: float) -> str:
    """Write a reward, bold where it is below the base model's."""
    number = metric("image_reward").number(value)
    return f"**{number}**" if value < base else number
