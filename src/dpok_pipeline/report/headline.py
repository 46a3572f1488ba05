"""What the report says in sentences: its question, the answer and its caveats, from the data.

The answer is built from the *decisive* claims, which the configuration marks. Where there are none,
or none could be judged, it says which methods score higher than the base model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import (
    BASE,
    SPLIT_LABELS,
    MethodLabel,
    find_method,
    join_words,
    metric,
    training_reward,
)
from dpok_pipeline.evaluation.reading import Cells, measured, overall, units
from dpok_pipeline.report.tables import terminal_table

# fmt: off
COUNTS = (
    "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)
# fmt: on
GENERAL_QUESTION = "Which way of learning from a reward works best?"
#: Sentences of an answer about several methods; what is left is counted.
MOST_SENTENCES = 3
#: Contrasts whose intervals may be read one by one without a thought to how many there are.
FEW_CONTRASTS = 5


class _Subject(NamedTuple):
    """What one sentence of the answer is about."""

    method: MethodLabel
    metric: str
    split: str
    claims: pd.DataFrame

    @property
    def scale(self) -> str:
        return metric(self.metric).in_a_sentence


def question(claims: pd.DataFrame, configured: str) -> str:
    """Choose the report's question: the configured one, if a decisive claim answers it."""
    return configured if configured and not _decisive(claims).empty else GENERAL_QUESTION


def verdict_word(claims: pd.DataFrame) -> str:
    """Say `Yes`, `No`, `In part` or `Undecided`: do the decisive claims hold?

    Returns:
        `Yes` if all hold on every experiment, `In part` if all hold on some; nothing without a
        decisive claim.
    """
    marks = _decisive(claims).groupby("experiment")["verdict"].agg(set)
    if marks.empty:
        return ""
    won = [verdicts == {"holds"} for verdicts in marks]
    if all(won):
        return "Yes"
    if any(won):
        return "In part"
    return "No" if any("does not hold" in verdicts for verdicts in marks) else "Undecided"


def first_line(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    methods: Sequence[MethodLabel],
    configured: str,
) -> str:
    """Put question, verdict and answer together, for readers who read no further.

    Args:
        comparison: As `comparison.compare` returns it.
        claims: As `claims.judge_claims` returns them.
        methods: The configured methods.
        configured: The configured question.
    """
    words = [question(claims, configured)]
    if word := verdict_word(claims):
        words.append(f"{word}.")
    words.append(answer(comparison, claims, measured(comparison, methods)))
    return " ".join(words)


def terminal_summary(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    methods: Sequence[MethodLabel],
    configured: str,
) -> str:
    """Write what a comparison says on the terminal: the answer, the levels, what intervals cover.

    Args:
        comparison: As `comparison.compare` returns it.
        claims: As `claims.judge_claims` returns them.
        methods: The configured methods.
        configured: The configured question.
    """
    line = first_line(comparison, claims, methods, configured)
    return f"{line}\n\n{terminal_table(comparison, methods)}\n\n{caveat(comparison)}"


def answer(comparison: pd.DataFrame, claims: pd.DataFrame, methods: Sequence[MethodLabel]) -> str:
    """Say which methods win where, by which numbers, and what the judge says of the first.

    Args:
        comparison: As `comparison.compare` returns it.
        claims: As `claims.judge_claims` returns them.
        methods: Methods that were compared.
    """
    decisive = _decisive(claims)
    if decisive.empty:
        return _without_claims(comparison, methods)
    subjects = [
        _Subject(find_method(methods, str(better)), str(name), str(split), part)
        for (better, name, split), part in decisive.groupby(
            ["better", "metric", "split"], sort=False
        )
    ]
    several = decisive["experiment"].nunique() > 1
    sentences: list[str] = []
    for subject in subjects[:MOST_SENTENCES]:
        text = _over_prompts(subject, methods) if several else _on_one_prompt(subject, methods)
        numbers = _numbers(comparison, subject, methods, several)
        judge = _judge(comparison, subject) if not sentences else ""
        sentences.append(f"{text}{numbers}{judge}.")
    left = pd.concat([subject.claims for subject in subjects[MOST_SENTENCES:]] or [decisive[:0]])
    if len(left):
        holds = int((left["verdict"] == "holds").sum())
        sentences.append(f"Of {len(left)} further verdicts, {holds} hold.")
    return " ".join(sentences)


def caveat(comparison: pd.DataFrame) -> str:
    """Say what the intervals do and do not cover."""
    runs = int(comparison["training_seeds"].max())
    images = int(comparison["images"].min())
    drawn = f"Intervals are 95 %, by a paired bootstrap over {images} shared noise seeds per prompt"
    contrasts = comparison["quantity"][comparison["quantity"].str.contains(" - ", regex=False)]
    if contrasts.empty:
        return f"{drawn}."  # the base model alone: nothing was trained
    if runs == 1:
        text = (
            f"{drawn}. Every method was trained once, with one training seed: the intervals cover "
            "the luck of the images, not the luck of the training run."
        )
    else:
        text = (
            f"{drawn}. They cover the luck of training, too, by how far {runs} training seeds are "
            "apart."
        )
    if contrasts.nunique() > FEW_CONTRASTS:
        return (
            f"{text} They are not corrected for being many: of twenty differences that are truly "
            "0, about one has an interval without 0."
        )
    return text


def count_in_words(number: int) -> str:
    """Write a small number as a word."""
    return COUNTS[number] if number < len(COUNTS) else str(number)


def claims_origin(claims: pd.DataFrame) -> str:
    """Say which claims are not the paper's, if their metrics tell them apart; else nothing."""
    from_paper = claims["from_paper"].astype(bool)
    paper = set(claims["metric"][from_paper])
    others = claims[~from_paper].drop_duplicates("claim")
    names = sorted(set(others["metric"]))
    if not paper or not names or paper & set(names):
        return ""
    listed = join_words([f"on {metric(name).in_a_sentence}" for name in names])
    verb = "claims {} are" if len(others) > 1 else "claim {} is"
    return f"The {verb.format(listed)} this project’s, the others are the paper’s."


def _decisive(claims: pd.DataFrame) -> pd.DataFrame:
    return claims[claims["decisive"].astype(bool)]


def _over_prompts(subject: _Subject, methods: Sequence[MethodLabel]) -> str:
    """Count the experiments on which one method beats all its rivals."""
    marks = subject.claims.groupby("experiment")["verdict"].agg(set)
    won, total = sum(verdicts == {"holds"} for verdicts in marks), len(marks)
    share = f"{count_in_words(won)} of the {count_in_words(total)}"
    if won == total:
        share = "both" if total == 2 else f"all {count_in_words(total)}"
    means = subject.claims["prompt"].str.startswith("Mean").any()
    kind = "experiments" if means else SPLIT_LABELS[subject.split].lower()
    rivals = [_in_a_sentence(methods, name) for name in subject.claims["worse"].unique()]
    return (
        f"{subject.method.label} scores higher on {subject.scale} than {join_words(rivals)} on "
        f"{share} {kind}"
    )


def _on_one_prompt(subject: _Subject, methods: Sequence[MethodLabel]) -> str:
    """Say which rivals one method beats on the only experiment."""
    marks = dict(zip(subject.claims["worse"], subject.claims["verdict"], strict=True))
    beaten = [_in_a_sentence(methods, name) for name, mark in marks.items() if mark == "holds"]
    others = [_in_a_sentence(methods, name) for name, mark in marks.items() if mark != "holds"]
    place = f"On “{subject.claims['prompt'].iloc[0]}” {subject.method.label}"
    if not beaten:
        rivals = join_words(others, "or")
        return f"{place} is not shown to score higher on {subject.scale} than {rivals}"
    but = f", but not measurably higher than {join_words(others, 'or')}" if others else ""
    return f"{place} scores higher on {subject.scale} than {join_words(beaten)}{but}"


def _in_a_sentence(methods: Sequence[MethodLabel], name: str) -> str:
    return find_method(methods, name).in_a_sentence


def _numbers(
    comparison: pd.DataFrame, subject: _Subject, methods: Sequence[MethodLabel], several: bool
) -> str:
    """Write the levels of a method and its rivals in brackets."""
    rivals = set(subject.claims["worse"])
    named = [method for method in reversed(methods) if method.name in rivals]
    levels = overall(comparison, subject.split)
    text = _levels([subject.method, *named], levels, subject.metric)
    return f" ({text}{' on average' if several else ''})" if text else ""


def _levels(methods: Sequence[MethodLabel], levels: Cells, name: str) -> str:
    """Write the levels of some methods: `SFT 0.68, base model 0.00`."""
    return ", ".join(
        f"{method.in_a_sentence.removeprefix('the ')} "
        f"{metric(name).number(levels[name, method.name].mean)}"
        for method in methods
        if (name, method.name) in levels
    )


def _judge(comparison: pd.DataFrame, subject: _Subject) -> str:
    """Say what share of a method's images the judge finds right, if it was asked."""
    levels = overall(comparison, "train")
    ours, base = (levels.get(("judge", name)) for name in (subject.method.name, BASE.name))
    if ours is None or base is None or subject.metric == "judge":
        return ""
    number = metric("judge").number
    return (
        f"; a judge that no training saw finds {number(ours.mean)} of its images right, "
        f"against {number(base.mean)} of the base model’s"
    )


def _without_claims(comparison: pd.DataFrame, methods: Sequence[MethodLabel]) -> str:
    """Say which methods score higher than the base model, and which scores highest."""
    reward = training_reward(set(comparison["metric"]))
    scale = metric(reward).in_a_sentence
    levels = overall(comparison, "train")
    trained = [
        method for method in methods if (reward, method.name) in levels and method.name != BASE.name
    ]
    first = next(iter(units(comparison)[0].prompts.values()))
    mean = first.startswith("Mean")
    place, average = ("", " on average") if mean else (f"On “{first}” ", "")
    if not trained:
        level = metric(reward).number(levels[reward, BASE.name].mean)
        sentence = f"{place}the base model scores {level} on {scale}{average}."
        return sentence[0].upper() + sentence[1:]
    best = max(trained, key=lambda method: levels[reward, method.name].mean)
    numbers = f" ({_levels([best, BASE], levels, reward)}{average})"
    gains = [levels.get((reward, f"{method.name} - {BASE.name}")) for method in trained]
    higher = [gain for gain in gains if isinstance(gain, Interval) and gain.low > 0]
    if len(trained) == 1:
        verb = "scores" if higher else "is not shown to score"
        return f"{place}{best.label} {verb} higher on {scale} than the base model{numbers}."
    share = f"{count_in_words(len(higher))} of the {count_in_words(len(trained))} methods"
    if len(higher) == len(trained):
        share = (
            f"all {count_in_words(len(trained))} methods" if len(trained) > 2 else "both methods"
        )
    text = f"{place}{share} {'scores' if len(higher) == 1 else 'score'} measurably higher"
    sentence = (
        f"{text} on {scale} than the base model; the highest mean is {best.label}’s{numbers}."
    )
    return sentence[0].upper() + sentence[1:]
