"""The paper's claims, each with the difference that tests it here, and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.reproduce.reading import Estimates, Rows, difference, estimate_scores
from benchmarks.reproduce.rows import scores_of
from benchmarks.reproduce.series import (
    ABLATIONS,
    BASE,
    CURVE,
    PAPER,
    SERIES,
)
from benchmarks.reproduce.tables import difference_cell, table
from dpok_pipeline.evaluation.names import metric

#: The prompt of the paper's appendix A.5.
MOON = ("location",)


#: Estimates by series, images, methods, experiments and split; None where rows are missing.
Known = dict[tuple[str | int, ...], Estimates | None]


class Claim(NamedTuple):
    """One claim of the paper.

    Attributes:
        section: Where the paper makes it.
        statement: The claim, as a sentence.
        series: Name of the series whose rows test it; it is judged at the largest number of images
            that has rows of both methods for every experiment.
        metric: What is compared.
        better: The method that is claimed to have more of it.
        worse: The other method.
        split: Prompts on which it is compared.
        experiments: Experiments over which the mean is taken; None is every one of the series.
        printed: What the paper prints of it; empty where it has a plot or pictures alone.
    """

    section: str
    statement: str
    series: str
    metric: str
    better: str
    worse: str
    split: str = "train"
    experiments: tuple[str, ...] | None = None
    printed: str = ""


# First version of the paper (v1), its table of the four prompts.
_FOUR_PROMPTS = "mean over the four prompts 0.23 → 1.25 (first version)"

CLAIMS = (
    Claim("5.2, fig. 2", "DPOK has a higher reward than the base model.",
          "curve", "image_reward", "dpok", BASE, printed=_FOUR_PROMPTS),
    Claim("5.2, fig. 2", "DPOK has a higher reward than SFT.",
          "curve", "image_reward", "dpok", "sft"),
    *(Claim("5.2, fig. 2", f"… on the prompt of `{name}`.",
            "curve", "image_reward", "dpok", "sft", experiments=(name,)) for name in PAPER),
    Claim("5.2, fig. 2", "SFT’s aesthetic score is below DPOK’s.",
          "curve", "aesthetic", "dpok", "sft"),
    Claim("5.2, fig. 2", "SFT’s images are more saturated than DPOK’s.",
          "curve", "saturation", "sft", "dpok"),
    Claim("5.2, fig. 3", "On unseen prompts, too, DPOK has a higher reward than the base model.",
          "curve", "image_reward", "dpok", BASE, split="unseen"),
    Claim("5.2, fig. 3", "On unseen prompts, too, DPOK has a higher reward than SFT.",
          "curve", "image_reward", "dpok", "sft", split="unseen"),
    Claim("5.2, raters", "DPOK’s images match the prompt more often than SFT’s (here the judge).",
          "curve", "judge", "dpok", "sft"),
    Claim("5.3, figs. 4, 8", "Without the KL term the aesthetic score is lower than with it.",
          "ablations", "aesthetic", "dpok", "dpok_no_kl"),
    Claim("5.3, figs. 4, 8", "Without the KL term images are more saturated than with it.",
          "ablations", "saturation", "dpok_no_kl", "dpok"),
    Claim("ours", "… and the judge finds fewer images right.",
          "ablations", "judge", "dpok", "dpok_no_kl"),
    Claim("5.3, fig. 9", "A stronger KL term (β = 0.1) costs reward.",
          "ablations", "image_reward", "dpok", "dpok_strong_kl"),
    Claim("5.3, fig. 4", "Of SFT, KL-O with γ = 2 costs reward (against γ = 0.1).",
          "ablations", "image_reward", "sft_kl_o", "sft_kl_o_2"),
    Claim("5.3, fig. 4", "… and keeps the aesthetic score.",
          "ablations", "aesthetic", "sft_kl_o_2", "sft_kl_o"),
    *(Claim("5.3, fig. 8", f"DPOK has a higher reward than SFT with KL-O and γ = {shift}.",
            "ablations", "image_reward", "dpok", name)
      for name, shift in [("sft_kl_o", "0.1"), ("sft_kl_o_1", "1"), ("sft_kl_o_2", "2"),
                          ("sft_kl_o_5", "5")]),
    Claim("A.5, fig. 7", "A value function gains reward over no baseline, on the dog on the moon.",
          "ablations", "image_reward", "dpok_value", "dpok_no_baseline", experiments=MOON,
          printed="0.86 → 1.51"),
    Claim("A.5, fig. 7", "… and leaves the aesthetic score no lower.",
          "ablations", "aesthetic", "dpok_value", "dpok_no_baseline", experiments=MOON,
          printed="5.57 → 5.60"),
    Claim("A.6", "Several updates per rollout gain reward over a single one of as many rows.",
          "ablations", "image_reward", "dpok", "dpok_one_update"),
    Claim("ours", "DPOK has a higher reward than online reward-weighted regression.",
          "ablations", "image_reward", "dpok", "rwr"),
    Claim("5.4", "DPOK mends the bias of “Four roses” (here by the judge).",
          "bias", "judge", "dpok", BASE),
    Claim("5.4", "… better than SFT does.", "bias", "judge", "dpok", "sft"),
    Claim("5.5, table 1", "One DPOK model for many prompts raises their reward.",
          "many", "image_reward", "dpok", BASE,
          printed="104 prompts 0.22 → 0.55, 183 prompts 0.13 → 0.58"),
    Claim("5.5, table 1", "… and the aesthetic score.", "many", "aesthetic", "dpok", BASE,
          printed="5.39 → 5.43, 5.31 → 5.35"),
    Claim("ours", "… and the reward of prompts that it was not trained on.",
          "many", "image_reward", "dpok", BASE, split="unseen"),
    Claim("ours", "… and how often the judge finds them right.",
          "many", "judge", "dpok", BASE, split="unseen"),
)  # fmt: skip


def claims_section(rows: Mapping[str, Rows]) -> Iterator[str]:
    """Judge every claim that has rows.

    Args:
        rows: The rows of each series, by its name.
    """
    # Several claims are about the same images, and each comparison covers all of their metrics.
    known: Known = {}
    lines = [line for claim in CLAIMS if (line := _judge(claim, rows, known))]
    if not lines:
        return
    yield "## The paper’s claims\n"
    yield (
        "Each is judged by the 95 % interval of the difference, at the largest number of images\n"
        "that has rows: it *holds* where the interval lies on the claimed side of 0, *does not\n"
        "hold* where it lies on the other, and is *undecided* where it allows both. What people\n"
        "say of the pictures, and the paper’s own prompt lists at Stable Diffusion’s size, cannot\n"
        "be tested here.\n"
    )
    heads = ["section", "claim", "paper", "metric", "images", "seeds", "difference, verdict"]
    yield table(heads, lines)


def _judge(claim: Claim, rows: Mapping[str, Rows], known: Known) -> list[str] | None:
    """Write a claim's line of the table; None where the rows are not there yet."""
    series = SERIES[claim.series]
    found = rows[series.name]
    if series.name == ABLATIONS.name:  # whose DPOK and SFT are those of the curve
        found = {**rows[CURVE.name], **found}
    methods = sorted({claim.worse, claim.better} - {BASE})
    experiments = claim.experiments or series.experiments
    for images in reversed(series.sizes):
        key: tuple[str | int, ...] = (series.name, images, *methods, *experiments, claim.split)
        if key not in known:
            scores = scores_of(found, images, methods, experiments)
            known[key] = estimate_scores(scores, methods, claim.split)
        one = known[key]
        if one is not None:
            value = difference(one, claim.metric, claim.better, claim.worse)
            return [
                claim.section,
                claim.statement,
                claim.printed,
                metric(claim.metric).label,
                f"{images:,}",
                str(one.seeds),
                difference_cell(value, claim.metric),
            ]
    return None
