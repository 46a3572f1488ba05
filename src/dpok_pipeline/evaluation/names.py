"""What methods and metrics are called, and how their numbers are written.

A *method* is whatever made a set of images: the base model itself, or a LoRA that one algorithm
trained with one set of settings. Which methods there are is configuration; nothing in this package
knows any of them by name but the base model, which all others are compared with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from dpok_pipeline.errors import InputError


class MethodLabel(NamedTuple):
    """How one method is shown.

    Attributes:
        name: Its name in the configuration and in the data.
        label: Its name in tables, figures and sentences.
        colour: Its colour in figures, `#rrggbb`.
        description: One sentence on what it does, which begins with its verb ("trains on …");
            empty to say nothing of it.
    """

    name: str
    label: str
    colour: str
    description: str = ""

    @property
    def in_a_sentence(self) -> str:
        """Its name with the article that a sentence needs."""
        return "the base model" if self.name == BASE.name else self.label


#: Control characters, halves of surrogate pairs, and marks of the direction of writing.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

#: The base model itself, which every comparison starts with.
BASE = MethodLabel("base", "Base", "#9a9a93")

#: Colours for methods that are given none, in this order. Neighbours differ also without
#: red-green sight and in grey; the second half repeats the hues of the first, darker or lighter.
PALETTE = (
    "#d0842a",
    "#0b5d7a",
    "#a4457f",
    "#5b8f3a",
    "#5a78c4",
    "#b5472f",
    "#2a9d8f",
    "#7d6220",
    "#8a6fb8",
    "#e0a83f",
    "#3b8fb5",
    "#d180ad",
    "#93b95c",
    "#2f4687",
    "#e0876f",
    "#146b5f",
)

#: Columns of a scores frame that say what a row is; every other one is a metric.
IDENTITY = (
    "experiment",
    "prompt_id",
    "prompt",
    "split",
    "method",
    "index",
    "image_sha256",
    "recipe",
    "training_seed",
)

#: Metrics that evaluation computes itself, whatever the scorers are.
COMPUTED = ("saturation", "diversity", "kl", "reward_per_kl")

SPLIT_LABELS = {"train": "Training prompts", "unseen": "Unseen prompts"}


def method_labels(
    methods: Iterable[tuple[str, str | None, str | None, str | None]],
) -> list[MethodLabel]:
    """Complete what the configuration says of the methods, and put the base model first.

    Args:
        methods: Name, label, colour and description of each method, in configured order. A method
            without a label goes by its name; one without a colour gets that of its place in the
            palette, or the next one that no method has.

    Returns:
        The base model and all methods.
    """
    rows = list(methods)
    taken = {colour.lower() for _, _, colour, _ in rows if colour}
    labels = [BASE]
    for place, (name, label, colour, description) in enumerate(rows):
        shade = colour or _free_colour(place, taken)
        taken.add(shade.lower())
        labels.append(MethodLabel(name, label or name, shade, description or ""))
    return labels


def _free_colour(place: int, taken: Collection[str]) -> str:
    """Return the palette's colour of a place, or the next that is free; any when all are taken."""
    ring = [PALETTE[(place + step) % len(PALETTE)] for step in range(len(PALETTE))]
    return next((colour for colour in ring if colour not in taken), ring[0])


def find_method(methods: Sequence[MethodLabel], name: str) -> MethodLabel:
    """Return the method of that name.

    Raises:
        InputError: None of the methods has it.
    """
    for method in methods:
        if method.name == name:
            return method
    known = ", ".join(method.name for method in methods)
    raise InputError(f"no method `{name}` is shown; there are {known}")


class Metric(NamedTuple):
    """How one metric is shown.

    Attributes:
        label: Its name in tables and figures.
        meaning: One sentence for a reader who has not met it.
        digits: Decimals; of the percentage for a share.
        share: Whether it is a share of images, written as a percentage.
        phrase: Its name within a sentence, with the article that it needs; empty for the label.
    """

    label: str
    meaning: str
    digits: int = 2
    share: bool = False
    phrase: str = ""

    @property
    def in_a_sentence(self) -> str:
        """Its name within a sentence."""
        return self.phrase or self.label

    def number(self, value: float, signed: bool = False) -> str:
        """Write a value, with a real minus sign, and a plus where `signed`."""
        scaled = 100 * value if self.share else value
        text = f"{scaled:{'+' if signed else ''}.{self.digits}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "−") + (" %" if self.share and not signed else "")


METRICS: Mapping[str, Metric] = {
    "reward": Metric(
        "Reward",
        "What the methods maximise, by the configuration’s own choice.",
        phrase="the reward",
    ),
    "image_reward": Metric(
        "ImageReward",
        "How well the image answers the prompt, by a model trained on rankings. The reward of the "
        "methods unless the configuration names another.",
    ),
    "aesthetic": Metric(
        "Aesthetic score",
        "How pleasing the image is, from about 1 to 10, by a model that never sees the prompt.",
        phrase="the aesthetic score",
    ),
    "judge": Metric(
        "Judge",
        "Share of images in which an independent reader of the scene finds everything that the "
        "prompt asks for. It stands in for the paper’s human raters; no training used it.",
        digits=0,
        share=True,
        phrase="the judge",
    ),
    "saturation": Metric(
        "Saturation",
        "Mean saturation of the colours, 0 to 1. Over-optimised models tend to glow.",
        phrase="saturation",
    ),
    "diversity": Metric(
        "Diversity",
        "Mean cosine distance between the CLIP embeddings of two images of the same prompt. 0 "
        "means that all images look alike.",
        digits=3,
        phrase="diversity",
    ),
    "kl": Metric(
        "KL to base",
        "How far the model has moved from the base model: mean squared difference of their noise "
        "predictions along the model's own denoising.",
        digits=4,
        phrase="the KL to the base model",
    ),
    "reward_per_kl": Metric(
        "Reward per KL",
        "Reward gained over the base model for each unit of KL.",
        digits=0,
        phrase="reward per KL",
    ),
}


def metric(name: str) -> Metric:
    """Say how `name` is shown; a metric of the user's own goes by its column name."""
    return METRICS.get(name, Metric(name, "A score of this project's own configuration."))


def reason_against_scorer(name: object) -> str | None:
    """Say why no scorer can have a name, which becomes a column and a metric; None if one can."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        return "use letters, digits and underscores, and a letter first"
    # `image` and `row` are columns that evaluation needs for a while.
    if name in (*IDENTITY, *COMPUTED, "image", "row"):
        return "evaluation has a column of that name itself; choose another"
    return None


def training_reward(metrics: Collection[object]) -> str:
    """Say which of the metrics training maximised: `reward` if there is one, else ImageReward."""
    return "reward" if "reward" in metrics else "image_reward"


def join_words(names: Sequence[str], last: str = "and") -> str:
    """Join names as a sentence does: `A, B and C`; by semicolons where a name has a comma."""
    *others, end = names
    mark = "; " if any("," in name for name in names) else ", "
    return f"{mark.join(others)} {last} {end}" if others else end


def one_line(prompt: str, length: int) -> str:
    """Write a prompt as a title: no line breaks or control characters, cut at `length`.

    A prompt is the user's data: it may hold line breaks, escape codes, marks that turn round the
    order in which the numbers beside it are shown, or 10,000 characters.
    """
    text = " ".join(UNPRINTABLE.sub(" ", prompt).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
