"""The answer in one sentence, and its caveat, put together from the data."""

from __future__ import annotations

import pandas as pd

from dpok_pipeline.evaluation.comparison import overall
from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import (
    MODEL_LABELS,
    MODELS,
    metric,
    reward_in_words,
    reward_name,
)

DECISIVE = ("reward_above_base", "reward_above_sft")
SENTENCE_LABELS = {**MODEL_LABELS, "base": "base model"}
RIVALS = {"reward_above_base": "the base model", "reward_above_sft": "SFT"}
COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def verdict_word(claims: pd.DataFrame) -> str:
    """`Yes`, `No`, `In part` or `Undecided`: does DPOK beat base model and SFT on the reward?"""
    marks = claims[claims["claim"].isin(DECISIVE)].groupby("experiment")["verdict"].agg(set)
    if marks.empty:
        return "Undecided"
    won = [verdicts == {"holds"} for verdicts in marks]
    if all(won):
        return "Yes"
    if any(won):
        return "In part"
    return "No" if any("does not hold" in verdicts for verdicts in marks) else "Undecided"


def answer(comparison: pd.DataFrame, claims: pd.DataFrame) -> str:
    """One sentence: where DPOK wins, by which numbers, and what the judge says."""
    decisive = claims[claims["claim"].isin(DECISIVE)]
    several = decisive["experiment"].nunique() > 1
    metrics = set(comparison["metric"])
    reward, scale = reward_name(metrics), reward_in_words(metrics)
    subject = _over_prompts(decisive, scale) if several else _on_one_prompt(decisive, scale)
    levels = overall(comparison, "train")
    numbers = ", ".join(
        f"{SENTENCE_LABELS[model]} {metric(reward).number(levels[reward, model].mean)}"
        for model in reversed(MODELS)
        if (reward, model) in levels
    )
    return f"{subject} ({numbers}{' on average' if several else ''}){_judge(levels)}."


def caveat(comparison: pd.DataFrame) -> str:
    """What the intervals do and do not cover."""
    runs = int(comparison["training_seeds"].max())
    images = int(comparison["images"].min())
    drawn = f"Intervals are 95 %, by a paired bootstrap over {images} shared noise seeds per prompt"
    if runs == 1:
        return (
            f"{drawn}. Every model was trained once, with one training seed: the intervals cover "
            "the luck of the images, not the luck of the training run."
        )
    return f"{drawn} and over {runs} training seeds, so they cover the luck of both."


def _over_prompts(decisive: pd.DataFrame, scale: str) -> str:
    marks = decisive.groupby("experiment")["verdict"].agg(set)
    won, total = sum(verdicts == {"holds"} for verdicts in marks), len(marks)
    share = f"{in_words(won)} of the {in_words(total)}"
    if won == total:
        share = "both" if total == 2 else f"all {in_words(total)}"
    kind = "experiments" if decisive["prompt"].str.startswith("Mean").any() else "training prompts"
    rivals = " and ".join(RIVALS[name] for name in DECISIVE if name in set(decisive["claim"]))
    return f"DPOK scores higher on {scale} than {rivals} on {share} {kind}"


def _on_one_prompt(decisive: pd.DataFrame, scale: str) -> str:
    marks = dict(zip(decisive["claim"], decisive["verdict"], strict=True))
    beaten = [RIVALS[name] for name in DECISIVE if marks.get(name) == "holds"]
    others = [RIVALS[name] for name in DECISIVE if name in marks and marks[name] != "holds"]
    place = f"On “{decisive['prompt'].iloc[0]}” DPOK" if len(decisive) else "DPOK"
    if not beaten:
        return f"{place} is not shown to score higher on {scale} than {' or '.join(others)}"
    but = f", but not measurably higher than {others[0]}" if others else ""
    return f"{place} scores higher on {scale} than {' and '.join(beaten)}{but}"


def in_words(number: int) -> str:
    """A small number as a word."""
    return COUNTS[number] if number < len(COUNTS) else str(number)


def _judge(levels: dict[tuple[str, str], Interval]) -> str:
    known = {model: levels.get(("judge", model)) for model in ("rl", "base")}
    ours, base = known["rl"], known["base"]
    if ours is None or base is None:
        return ""
    number = metric("judge").number
    return (
        f"; a judge that no training saw finds {number(ours.mean)} of its images right, "
        f"against {number(base.mean)} of the base model’s"
    )
