"""The paper's claims, each with the difference that tests it here, and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.reproduce.page.estimates import Estimates, difference, estimate
from benchmarks.reproduce.page.luck import Luck
from benchmarks.reproduce.page.tables import difference_cell, table
from benchmarks.reproduce.rows import Rows, with_partners
from benchmarks.reproduce.series import BASE, CURVE, SERIES
from dpok_pipeline.evaluation.claims import verdict
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import metric

#: The four prompts of the paper, by experiment, as a claim names them.
PROMPTS = {
    "color": "the rabbit",
    "composition": "the cat and the dog",
    "count": "the wolves",
    "location": "the dog on the moon",
}
#: What may be lost of the aesthetic score by a method that is said to keep it.
KEPT_AESTHETIC = 0.1


#: Estimates by series, images, methods, experiments and split; None where rows are missing.
Known = dict[tuple[str, int, tuple[str, ...], tuple[str, ...], str], Estimates | None]


class Claim(NamedTuple):
    """One claim of the paper.

    Attributes:
        section: Where the paper makes it; `ours` where it does not.
        statement: The claim, as a sentence.
        series: Name of the series whose rows test it; it is judged at the largest number of images
            that has rows of both methods for every experiment.
        metric: What is compared.
        better: The method that is claimed to have more of it.
        worse: The other method.
        split: Prompts on which it is compared.
        experiments: Experiments over which the mean is taken; None is every one of the series.
        printed: What the paper prints of it; empty where it has a plot or pictures alone.
        margin: How much less `better` may have, where it is said to be no worse.
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
    margin: float = 0.0


CLAIMS = (
    # The number printed is that of the paper's first version, its table of the four prompts.
    Claim("5.2, fig. 3a", "DPOK has a higher reward than the base model.",
          "curve", "image_reward", "dpok", BASE, printed="0.23 → 1.25 (first version)"),
    Claim("5.2, fig. 3a", "DPOK has a higher reward than SFT.",
          "curve", "image_reward", "dpok", "sft"),
    *(Claim("5.2, fig. 3a", f"On the prompt of {prompt}, DPOK has a higher reward than SFT.",
            "curve", "image_reward", "dpok", "sft", experiments=(name,))
      for name, prompt in PROMPTS.items()),
    Claim("ours", "SFT, too, has a higher reward than the base model.",
          "curve", "image_reward", "sft", BASE),
    Claim("5.2, fig. 3b", "SFT has a lower aesthetic score than DPOK.",
          "curve", "aesthetic", "dpok", "sft"),
    Claim("5.2, fig. 3b", "SFT has a lower aesthetic score than the base model (there sometimes).",
          "curve", "aesthetic", BASE, "sft"),
    Claim("5.3", "DPOK keeps the base model’s aesthetic score.",
          "curve", "aesthetic", "dpok", BASE, margin=KEPT_AESTHETIC),
    Claim("5.2", "SFT’s images are more saturated than DPOK’s.",
          "curve", "saturation", "sft", "dpok"),
    Claim("5.2", "On unseen prompts, too, DPOK has a higher reward than the base model.",
          "curve", "image_reward", "dpok", BASE, split="unseen"),
    Claim("5.2", "On unseen prompts, too, DPOK has a higher reward than SFT.",
          "curve", "image_reward", "dpok", "sft", split="unseen"),
    Claim("5.2, fig. 3c", "More of DPOK’s images match the prompt than of SFT’s (there by raters).",
          "curve", "judge", "dpok", "sft"),
    Claim("ours", "DPOK’s images match the prompt more often than the base model’s.",
          "curve", "judge", "dpok", BASE),
    Claim("ours", "DPOK has a higher reward than with the official code’s use of its rollouts.",
          "curve", "image_reward", "dpok", "dpok_official"),
    Claim("5.3, fig. 4", "Without the KL term DPOK’s aesthetic score is lower than with it.",
          "kl", "aesthetic", "dpok", "dpok_no_kl"),
    Claim("5.3, fig. 4", "Without the KL term DPOK’s images are more saturated than with it.",
          "kl", "saturation", "dpok_no_kl", "dpok"),
    Claim("ours", "Without the KL term DPOK’s reward is higher than with it.",
          "kl", "image_reward", "dpok_no_kl", "dpok"),
    Claim("ours", "Without the KL term the judge finds fewer of DPOK’s images right than with it.",
          "kl", "judge", "dpok", "dpok_no_kl"),
    Claim("ours", "A stronger KL term (β = 0.1) costs DPOK reward.",
          "kl", "image_reward", "dpok", "dpok_strong_kl"),
    Claim("ours", "A stronger KL term (β = 0.1) saves DPOK aesthetic score.",
          "kl", "aesthetic", "dpok_strong_kl", "dpok"),
    Claim("5.3, fig. 4", "KL-O with γ = 2 costs SFT reward (here against γ = 0.1).",
          "ablations", "image_reward", "sft_kl_o", "sft_kl_o_2"),
    Claim("5.3, fig. 4", "SFT with KL-O and γ = 2 keeps the base model’s aesthetic score.",
          "ablations", "aesthetic", "sft_kl_o_2", BASE, margin=KEPT_AESTHETIC),
    Claim("A.5, fig. 7", "On the dog on the moon, a value function gains reward over no baseline.",
          "ablations", "image_reward", "dpok_value", "dpok_no_baseline",
          experiments=("location",), printed="0.86 → 1.51"),
    Claim("A.5, fig. 7", "On the dog on the moon, it keeps the aesthetic score.",
          "ablations", "aesthetic", "dpok_value", "dpok_no_baseline",
          experiments=("location",), printed="5.57 → 5.60", margin=KEPT_AESTHETIC),
    Claim("ours (A.6)", "Several updates per rollout gain reward over one of as many rows.",
          "ablations", "image_reward", "dpok", "dpok_one_update"),
    Claim("ours", "Leaving out the last two steps gains reward over updates from all steps.",
          "ablations", "image_reward", "dpok", "dpok_all_steps"),
    Claim("ours", "DPOK has a higher reward than online reward-weighted regression.",
          "ablations", "image_reward", "dpok", "rwr"),
    Claim("5.4", "DPOK mends the bias of “Four roses” (there pictures, here the judge).",
          "bias", "judge", "dpok", BASE),
    Claim("ours", "DPOK mends the bias of “Four roses” more often than SFT does.",
          "bias", "judge", "dpok", "sft"),
    Claim("5.5, table 1", "One DPOK model for many prompts raises their reward.",
          "many", "image_reward", "dpok", BASE, printed="0.22 → 0.55, 0.13 → 0.58"),
    Claim("5.5, table 1", "One DPOK model for many prompts keeps their aesthetic score.",
          "many", "aesthetic", "dpok", BASE, printed="5.39 → 5.43, 5.31 → 5.35",
          margin=KEPT_AESTHETIC),
    Claim("ours", "It raises the reward of prompts that it was not trained on.",
          "many", "image_reward", "dpok", BASE, split="unseen"),
    Claim("ours", "It makes the judge find more images of such prompts right.",
          "many", "judge", "dpok", BASE, split="unseen"),
)  # fmt: skip

RULES = f"""\
Each is judged by the 95 % interval of the difference, at the largest number of images that has
rows: it *holds* where the interval lies on the claimed side of 0, *does not hold* where it lies on
the other, and is *undecided* where it allows both. Under *here* the first figure is that of the
method that is claimed to have less, and a difference above 0 is as claimed. A method
*keeps* an aesthetic score if it loses less than {KEPT_AESTHETIC} of it. “Ours” are questions that
the paper does not answer. So many intervals are looked at that one or two may well miss by chance.
What cannot be tested here: what people say of the pictures, the paper’s own lists of prompts at
Stable Diffusion’s size, and its comparison of reward models (appendix C).
"""


def claims_section(rows: Mapping[str, Rows], luck: Luck) -> Iterator[str]:
    """Judge every claim that has rows.

    Args:
        rows: The rows of each series, by its name.
        luck: That of training.
    """
    # Several claims are about the same images, and each estimate covers all of their metrics.
    known: Known = {}
    lines = [line for claim in CLAIMS if (line := _judge(claim, rows, luck, known))]
    if not lines:
        return
    yield "## The paper’s claims\n"
    yield RULES
    heads = ["section", "claim", "in the paper", "here", "difference", "verdict", "images", "seeds"]
    yield table(heads, lines)
    if CURVE.name in rows and any(unit.method == "sft" for unit in rows[CURVE.name]):
        yield (
            "SFT is that of the [tuning](tuning.md): KL-D with γ = 0.1, where the paper’s figures\n"
            "have KL-O with γ = 2. DPOK’s baseline is the mean reward of the prompt.\n"
        )


def _judge(claim: Claim, rows: Mapping[str, Rows], luck: Luck, known: Known) -> list[str] | None:
    """Write a claim's line of the table; None where the rows are not there yet."""
    series = SERIES[claim.series]
    found = with_partners(rows, series)
    methods = sorted({claim.worse, claim.better} - {BASE})
    experiments = claim.experiments or series.experiments
    for images in reversed(series.sizes):
        key = (series.name, images, tuple(methods), experiments, claim.split)
        if key not in known:
            known[key] = estimate(found, images, methods, experiments, luck, claim.split)
        one = known[key]
        if one is not None:
            return [
                claim.section,
                claim.statement,
                claim.printed,
                *_evidence(claim, one),
                f"{images:,}",
                str(one.seeds),
            ]
    return None


def _evidence(claim: Claim, found: Estimates) -> list[str]:
    scale = metric(claim.metric)
    before, after = (found.cells[claim.metric, name].mean for name in (claim.worse, claim.better))
    value = difference(found, claim.metric, claim.better, claim.worse)
    shifted = Interval(*(number + claim.margin for number in value))
    return [
        f"{scale.label} {scale.number(before)} → {scale.number(after)}",
        difference_cell(value, claim.metric),
        verdict(shifted),
    ]
