"""A made-up comparison with known effects: what a run hands to the evaluation, without the run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

EXPERIMENTS = {
    "color": ("A green colored rabbit.", "A green colored cat."),
    "composition": ("A cat and a dog.", "A cat and a cup."),
    "count": ("Four wolves in the park.", "Four birds in the park."),
    "location": ("A dog on the moon.", "A lion on the moon."),
}

#: Mean ImageReward, aesthetic score, share right, saturation and KL of each model.
EFFECTS = {
    "base": (0.0, 5.40, 0.35, 0.40, 0.0),
    "sft": (0.7, 5.25, 0.50, 0.48, 0.004),
    "rl": (1.4, 5.45, 0.70, 0.42, 0.006),
}


def make_scores(
    experiments=tuple(EXPERIMENTS), images: int = 64, seed: int = 0, judge: bool = True
) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores whose noise is mostly shared by the three models, and embeddings in their order."""
    rng = np.random.default_rng(seed)
    rows, embeddings = [], []
    for experiment in experiments:
        for split, prompt in zip(("train", "unseen"), EXPERIMENTS[experiment], strict=True):
            luck = rng.normal(size=images)
            strength = 1.0 if split == "train" else 0.4
            for model, effects in EFFECTS.items():
                start = EFFECTS["base"]
                reward, beauty, right, colour, kl = (
                    s + strength * (e - s) for s, e in zip(start, effects, strict=True)
                )
                frame = pd.DataFrame(
                    {
                        "experiment": experiment,
                        "prompt_id": f"{experiment}-{split}",
                        "prompt": prompt,
                        "split": split,
                        "model": model,
                        "index": np.arange(images),
                        "image_reward": reward + luck + rng.normal(0, 0.3, images),
                        "aesthetic": beauty + 0.3 * luck + rng.normal(0, 0.2, images),
                        "judge": (rng.random(images) < right).astype(float),
                        "saturation": colour + rng.normal(0, 0.05, images),
                        "kl": kl * rng.uniform(0.8, 1.2, images),
                    }
                )
                rows.append(frame)
                embeddings.append(rng.normal(size=(images, 16)) + 4 * (model != "base"))
    scores = pd.concat(rows, ignore_index=True)
    return scores if judge else scores.drop(columns="judge"), np.concatenate(embeddings)


def make_curves(iterations: int = 40, images: int = 32, seed: int = 0) -> pd.DataFrame:
    """Learning curves of one RL run."""
    rng = np.random.default_rng(seed)
    progress = np.arange(iterations) / iterations
    return pd.DataFrame(
        {
            "step": np.arange(iterations),
            "images_seen": images * (1 + np.arange(iterations)),
            "reward/mean": 1.4 * (1 - np.exp(-3 * progress)) + rng.normal(0, 0.15, iterations),
            "kl/noise_mse": 0.006 * progress * rng.uniform(0.9, 1.1, iterations),
            "alarm/saturation": (np.arange(iterations) == iterations - 1).astype(float),
        }
    )


def make_picture(hue: int, size: int = 64) -> Image.Image:
    """A small picture with a coloured disc."""
    picture = Image.new("HSV", (size, size), (hue % 256, 40, 235)).convert("RGB")
    colour = Image.new("HSV", (1, 1), (hue * 7 % 256, 190, 200)).convert("RGB").getpixel((0, 0))
    ImageDraw.Draw(picture).ellipse([size // 4] * 2 + [3 * size // 4] * 2, fill=colour)
    return picture
