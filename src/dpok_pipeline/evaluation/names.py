"""What the models and the metrics are called, and how their numbers are written."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

#: The three models that are compared, in the order in which they are shown.
MODELS = ("base", "sft", "rl")

MODEL_LABELS = {"base": "Base", "sft": "SFT", "rl": "DPOK"}

#: One colour per model, distinct also without red-green sight and in grey.
MODEL_COLOURS = {"base": "#9a9a93", "sft": "#d0842a", "rl": "#0b5d7a"}

#: Pairs of models that are compared on the same noise.
CONTRASTS = (("rl", "base"), ("rl", "sft"), ("sft", "base"))

#: Columns of a scores frame that say what a row is; every other one is a metric.
IDENTITY = (
    "experiment",
    "prompt_id",
    "prompt",
    "split",
    "model",
    "index",
    "image_sha256",
    "training_seed",
)

SPLIT_LABELS = {"train": "Training prompts", "unseen": "Unseen prompts"}


class Metric(NamedTuple):
    """How one metric is shown.

    Attributes:
        label: its name in tables and figures.
        meaning: one sentence for a reader who has not met it.
        digits: decimals; of the percentage for a share.
        share: whether it is a share of images, written as a percentage.
    """

    label: str
    meaning: str
    digits: int = 2
    share: bool = False

    def number(self, value: float, signed: bool = False) -> str:
        """Write a value, with a real minus sign, and a plus where `signed`."""
        scaled = 100 * value if self.share else value
        text = f"{scaled:{'+' if signed else ''}.{self.digits}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "−") + (" %" if self.share and not signed else "")


METRICS: dict[str, Metric] = {
    "reward": Metric("Reward", "What both methods maximise, by the configuration’s own choice."),
    "image_reward": Metric(
        "ImageReward",
        "How well the image answers the prompt, by a model trained on rankings. The reward of both "
        "methods unless the configuration names another.",
    ),
    "aesthetic": Metric(
        "Aesthetic score",
        "How pleasing the image is, from about 1 to 10, by a model that never sees the prompt.",
    ),
    "judge": Metric(
        "Judge",
        "Share of images in which an independent reader of the scene finds everything that the "
        "prompt asks for. It stands in for the paper’s human raters; no training used it.",
        digits=0,
        share=True,
    ),
    "saturation": Metric(
        "Saturation",
        "Mean saturation of the colours, 0 to 1. Over-optimised models tend to glow.",
    ),
    "diversity": Metric(
        "Diversity",
        "Mean cosine distance between the CLIP embeddings of two images of the same prompt. 0 "
        "means that all images look alike.",
        digits=3,
    ),
    "kl": Metric(
        "KL to base",
        "How far the model has moved from the base model: mean squared difference of their noise "
        "predictions along the model's own denoising.",
        digits=4,
    ),
    "reward_per_kl": Metric(
        "Reward per KL", "Reward gained over the base model for each unit of KL.", digits=0
    ),
}


def metric(name: str) -> Metric:
    """How `name` is shown; a metric of the user's own goes by its column name."""
    return METRICS.get(name, Metric(name, "A score of this project's own configuration."))


def reward_name(metrics: Collection[object]) -> str:
    """Which of the metrics training maximised: `reward` where there is one, else ImageReward."""
    return "reward" if "reward" in metrics else "image_reward"


def reward_in_words(metrics: Collection[object]) -> str:
    """What a sentence calls the metric of `reward_name`."""
    return "the reward" if "reward" in metrics else METRICS["image_reward"].label


def one_line(prompt: str, length: int) -> str:
    """A prompt as a title: without line breaks and control characters, cut at `length`.

    A prompt is the user's data: it may hold line breaks, escape codes, or 10,000 characters.
    """
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", prompt).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
