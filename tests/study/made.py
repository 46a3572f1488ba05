"""A made-up study: images of plain colours, drawn by methods whose names are easy to find."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dpok_pipeline.study.config import StudyConfig
from dpok_pipeline.study.pairs import Key, choose_sets, make_study
from dpok_pipeline.study.votes import Choice, PairVote, RaterFile

CONFIG = StudyConfig(pairs=20, seed=3, quality_margin=0.1)
CONTRASTS = [("dpok", "base"), ("dpok", "sft")]
COLOURS = {"base": 40, "sft": 120, "dpok": 200}
PROMPTS = {"color": "A green rabbit.", "count": "Four <b>wolves</b> in the park."}


def png(method: str, noise: int, side: int = 16) -> bytes:
    """An image that says by its colour who drew it from which noise."""
    buffer = BytesIO()
    Image.new("RGB", (side, side), (COLOURS[method], noise, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(grains: tuple[int, ...] = (4, 16, 64, 256)) -> bytes:
    """An image with as much in it as a photograph: the finer a pattern, the fainter it is."""
    rng, image = np.random.default_rng(0), np.zeros((512, 512, 3))
    for place, grain in enumerate(grains):
        noise = Image.fromarray(rng.integers(0, 256, (grain, grain, 3), dtype=np.uint8))
        image += np.asarray(noise.resize((512, 512)), dtype=float) / 2 ** (place + 1)
    buffer = BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shards(experiment: str, method: str, noises: int = 24, side: int = 16) -> list[pd.DataFrame]:
    """A method's images of one training prompt and one unseen one."""
    return [
        pd.DataFrame(
            {
                "experiment": experiment,
                "prompt_id": f"{experiment}-{split}",
                "prompt": PROMPTS[experiment]
                if split == "train"
                else "Nobody is asked about this.",
                "split": split,
                "method": method,
                "index": range(noises),
                "image": [
                    {"bytes": png(method, noise, side), "path": None} for noise in range(noises)
                ],
            }
        )
        for split in ("train", "unseen")
    ]


def sets(experiment: str, config: StudyConfig = CONFIG, **options: Any) -> pd.DataFrame:
    images = {method: shards(experiment, method, **options) for method in COLOURS}
    return choose_sets(images, CONTRASTS, config)


def study(config: StudyConfig = CONFIG, **options: Any) -> Any:
    return make_study([sets(name, config, **options) for name in PROMPTS], config)


def hashes(method: str, noises: Sequence[int] = range(4)) -> list[str]:
    """The hashes of a method's images, one for each noise."""
    return [hashlib.sha256(f"{method} {noise}".encode()).hexdigest() for noise in noises]


def key_of(*pairs: tuple[str, str, str]) -> Key:
    """A key of one contrast: id, method on the left, method on the right; `a` is `ours`."""
    entries = [
        {
            "pair": pair,
            "experiment": "color",
            "prompt_id": "color-train",
            "prompt": "p",
            "noises": [0, 1, 2, 3],
            "ours": "a",
            "theirs": "b",
            "left": left,
            "right": right,
            "image_sha256": {method: hashes(method) for method in ("a", "b")},
        }
        for pair, left, right in pairs
    ]
    return {"study": "0123456789abcdef", "pairs": entries}


def rater_file(rater: str, key: Key, alignment: list[Choice], quality: list[Choice]) -> RaterFile:
    """One rater's answers in the order of the key."""
    votes = tuple(
        PairVote(pair=entry["pair"], alignment=first, quality=second)
        for entry, first, second in zip(key["pairs"], alignment, quality, strict=True)
    )
    return RaterFile(format="study-votes/1", study=key["study"], rater=rater, votes=votes)
