"""A made-up comparison with known effects: what a run hands to the evaluation, without the run."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageDraw

from dpok_pipeline.evaluation.comparison import compare, contrasts_of
from dpok_pipeline.evaluation.config import ComparisonConfig
from dpok_pipeline.evaluation.names import MethodLabel, method_labels

ROOT = Path(__file__).parents[2]

EXPERIMENTS = {
    "color": ("A green colored rabbit.", "A green colored cat."),
    "composition": ("A cat and a dog.", "A cat and a cup."),
    "count": ("Four wolves in the park.", "Four birds in the park."),
    "location": ("A dog on the moon.", "A lion on the moon."),
}

Effects = dict[str, tuple[float, float, float, float, float]]

#: Mean ImageReward, aesthetic score, share right, saturation and KL of each method.
EFFECTS: Effects = {
    "base": (0.0, 5.40, 0.35, 0.40, 0.0),
    "sft": (0.7, 5.25, 0.50, 0.48, 0.004),
    "dpok": (1.4, 5.45, 0.70, 0.42, 0.006),
}

#: As in the paper's default configuration.
METHODS = method_labels(
    [
        ("sft", "SFT", "#d0842a", "trains on images that the base model drew once."),
        ("dpok", "DPOK", "#0b5d7a", "draws new images as it learns."),
    ]
)

#: The paper's contrasts and claims, as conf/base has them.
PAPER = ComparisonConfig.model_validate(
    yaml.safe_load((ROOT / "conf/base/parameters_comparison.yml").read_text())["comparison"]
)

#: Fourteen methods as an ablation has them, several of them close to each other.
MANY_EFFECTS: Effects = {
    **EFFECTS,
    "dpok_no_kl": (1.5, 5.21, 0.68, 0.51, 0.0125),
    "dpok_kl_0_1": (0.9, 5.44, 0.58, 0.41, 0.0026),
    "dpok_value": (1.32, 5.43, 0.69, 0.42, 0.0058),
    "dpok_no_baseline": (1.05, 5.38, 0.60, 0.43, 0.0055),
    "dpok_one_update": (1.21, 5.45, 0.63, 0.42, 0.0047),
    "sft_gamma_0_1": (0.72, 5.22, 0.51, 0.48, 0.0043),
    "sft_gamma_1": (0.68, 5.26, 0.50, 0.47, 0.0038),
    "sft_gamma_5": (0.45, 5.31, 0.45, 0.44, 0.0021),
    "sft_kl_o": (0.66, 5.20, 0.49, 0.49, 0.0041),
    "sft_kl_d": (0.74, 5.25, 0.51, 0.48, 0.0040),
    "sft_long": (0.81, 5.05, 0.52, 0.55, 0.0090),
    "rwr": (1.1, 5.36, 0.62, 0.45, 0.0068),
}
MANY_LABELS = {
    "dpok_no_kl": "DPOK without KL",
    "dpok_kl_0_1": "DPOK, β 0.1",
    "dpok_value": "DPOK, value function",
    "dpok_no_baseline": "DPOK, no baseline",
    "dpok_one_update": "DPOK, one update",
    "sft_gamma_0_1": "SFT, γ 0.1",
    "sft_gamma_1": "SFT, γ 1",
    "sft_gamma_5": "SFT, γ 5",
    "sft_kl_o": "SFT, KL-O",
    "sft_kl_d": "SFT, KL-D",
    "sft_long": "SFT, four times as long",
    "rwr": "Online RWR",
}
MANY = method_labels(
    [
        *((method.name, method.label, method.colour, method.description) for method in METHODS[1:]),
        *((name, label, None, "differs from DPOK or SFT in one setting.") for name, label
          in MANY_LABELS.items()),
    ]
)  # fmt: skip


def make_scores(
    experiments=tuple(EXPERIMENTS),
    images: int = 64,
    seed: int = 0,
    judge: bool = True,
    effects: Effects = EFFECTS,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores whose noise is mostly shared by all methods, and embeddings in their order."""
    rng = np.random.default_rng(seed)
    rows, embeddings = [], []
    for experiment in experiments:
        for split, prompt in zip(("train", "unseen"), EXPERIMENTS[experiment], strict=True):
            luck = rng.normal(size=images)
            strength = 1.0 if split == "train" else 0.4
            for method, effect in effects.items():
                start = effects["base"]
                reward, beauty, right, colour, kl = (
                    s + strength * (e - s) for s, e in zip(start, effect, strict=True)
                )
                frame = pd.DataFrame(
                    {
                        "experiment": experiment,
                        "prompt_id": f"{experiment}-{split}",
                        "prompt": prompt,
                        "split": split,
                        "method": method,
                        "index": np.arange(images),
                        "image_reward": reward + luck + rng.normal(0, 0.3, images),
                        "aesthetic": beauty + 0.3 * luck + rng.normal(0, 0.2, images),
                        "judge": (rng.random(images) < right).astype(float),
                        "saturation": colour + rng.normal(0, 0.05, images),
                        "kl": kl * rng.uniform(0.8, 1.2, images),
                    }
                )
                rows.append(frame)
                embeddings.append(rng.normal(size=(images, 16)) + 4 * (method != "base"))
    scores = pd.concat(rows, ignore_index=True)
    return scores if judge else scores.drop(columns="judge"), np.concatenate(embeddings)


def compare_all(
    scores: pd.DataFrame,
    embeddings: np.ndarray | None = None,
    methods: list[MethodLabel] = METHODS,
    config: ComparisonConfig = PAPER,
    **options,
) -> pd.DataFrame:
    """Compare the paper's methods, or others, with the paper's contrasts, or others."""
    names = [method.name for method in methods]
    contrasts = contrasts_of(names, config)
    return compare(scores, embeddings, methods=names, contrasts=contrasts, **options)


def make_curves(
    iterations: int = 40, images: int = 32, seed: int = 0, reward: float = 1.4, kl: float = 0.006
) -> pd.DataFrame:
    """Learning curves of one online run that ends at a reward and a KL."""
    rng = np.random.default_rng(seed)
    progress = np.arange(iterations) / iterations
    return pd.DataFrame(
        {
            "step": np.arange(iterations),
            "images_seen": images * (1 + np.arange(iterations)),
            "reward/mean": reward * (1 - np.exp(-3 * progress)) + rng.normal(0, 0.15, iterations),
            "kl/noise_mse": kl * progress * rng.uniform(0.9, 1.1, iterations),
            "alarm/saturation": (np.arange(iterations) == iterations - 1).astype(float),
        }
    )


def make_picture(hue: int, size: int = 64) -> Image.Image:
    """A small picture with a coloured disc."""
    picture = Image.new("HSV", (size, size), (hue % 256, 40, 235)).convert("RGB")
    colour = Image.new("HSV", (1, 1), (hue * 7 % 256, 190, 200)).convert("RGB").getpixel((0, 0))
    ImageDraw.Draw(picture).ellipse([size // 4] * 2 + [3 * size // 4] * 2, fill=colour)
    return picture


def make_shards(scores: pd.DataFrame, size: int = 16) -> list[pd.DataFrame]:
    """An image for every row of scores, each of which differs from all others."""
    columns = ["experiment", "prompt_id", "prompt", "split", "method", "index"]
    images = []
    for row in scores[columns].itertuples(index=False):
        buffer = BytesIO()
        colour = tuple(crc32(repr(tuple(row)).encode()).to_bytes(4)[:3])
        Image.new("RGB", (size, size), colour).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    return [scores[columns].assign(image=images)]
