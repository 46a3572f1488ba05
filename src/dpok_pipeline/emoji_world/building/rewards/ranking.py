"""The small ImageReward: trained, as the real one, by ranking pictures of one caption.

Two sources of pairs. Renders: one shows what the caption says, the other has one attribute wrong,
both degraded or drawn over by the base model alike, so that neither wins by being clean. Samples of
the base model: two of one caption, ranked by the rater, a network that stands for people and errs
like them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dpok_pipeline.emoji_world.building.corpus import another, sample_caption
from dpok_pipeline.emoji_world.building.loop import to_tensor, train
from dpok_pipeline.emoji_world.building.readers import Degrade, GarblingSprites
from dpok_pipeline.emoji_world.captions import Caption, parse
from dpok_pipeline.emoji_world.renderer import render
from dpok_pipeline.emoji_world.scene_reader import GARBLED, MIXED, SceneReader
from dpok_pipeline.emoji_world.scenes import Scene, arrange, scene_of
from dpok_pipeline.emoji_world.vocabulary import (
    COLOR_NAMES,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
    PLAIN,
)
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig

# Share of the rater's verdicts that are turned round, as people disagree with each other.
LABEL_NOISE = 0.10
# Two samples whose log-likelihoods differ by less are a tie: odds of less than 3 to 1.
TIE = 1.0


class Pairs(NamedTuple):
    """n ranked pairs of pictures.

    Attributes:
        prompts: n sentences.
        better: (n, 3, 64, 64) uint8, the right picture, or the one that the rater prefers.
        worse: (n, 3, 64, 64) uint8.
    """

    prompts: list[str]
    better: Tensor
    worse: Tensor

    def joined(self, other: Pairs) -> Pairs:
        """These pairs, then the others."""
        return Pairs(
            self.prompts + other.prompts,
            torch.cat([self.better, other.better]),
            torch.cat([self.worse, other.worse]),
        )


def reward_vocabulary() -> list[str]:
    """Return a WordPiece vocabulary: every word of the grammar, and letters for all others."""
    rng = np.random.default_rng(0)
    words = {
        word
        for _ in range(20_000)
        for word in sample_caption(rng).sentence().lower().replace(".", "").split()
    }
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?'-", *letters,
            *(f"##{letter}" for letter in letters), *sorted(words - set(letters))]  # fmt: skip


def new_reward(seed: int = 0) -> ImageReward:
    """Return the untrained network: 64-pixel pictures in 8-pixel patches, about 1.6 M values."""
    torch.manual_seed(seed)
    vocabulary = reward_vocabulary()
    config = ImageRewardConfig(
        image_size=64, patch_size=8, vision_width=128, vision_layers=4, vision_heads=4,
        text_width=128, text_layers=3, text_heads=4, text_positions=24, max_tokens=24,
        vocab_size=len(vocabulary), head_sizes=(128, 64, 32, 16), score_mean=0.0, score_std=1.0,
    )  # fmt: skip
    return ImageReward(config, vocabulary)


def wrong_scene(caption: Caption, rng: np.random.Generator) -> Scene:
    """Return a scene that has exactly one of the caption's attributes wrong, or is garbled."""
    named = ["kind", "count", "garbled"]
    named += [name for name in ("color", "other", "place") if getattr(caption, name)]
    attribute = str(rng.choice(named))
    things = [(caption.kind, caption.color or NATURAL)] * caption.count
    place = caption.place or PLAIN
    if attribute in ("kind", "color", "garbled"):
        kind = {"kind": another(KIND_NAMES, caption.kind, rng), "garbled": GARBLED}.get(
            attribute, caption.kind
        )
        color = caption.color or NATURAL
        if attribute == "color":
            color = another((NATURAL, *COLOR_NAMES, MIXED), color, rng)
        # One object of several is enough to be wrong.
        changed = int(rng.integers(1, caption.count + 1))
        things = [(kind, color)] * changed + things[changed:]
    if attribute == "count":
        most = MAX_COUNT - bool(caption.other)
        counts = [n for n in range(1, most + 1) if n != caption.count]
        things = things[:1] * int(rng.choice(counts))
    if caption.other:
        second = [caption.other]
        if attribute == "other":  # the first again, nothing, or a third kind
            second = [[caption.kind], [], [another(KIND_NAMES, caption.other, rng)]][
                rng.integers(3)
            ]
        things = things + [(kind, NATURAL) for kind in second]
    if attribute == "place":
        place = another(PLACE_NAMES, place, rng)
    return arrange(things[:MAX_COUNT], place, rng)


def rank_samples(prompts: Sequence[str], samples: Tensor, rater: SceneReader, seed: int) -> Pairs:
    """Pair samples of one prompt and let the rater, with `LABEL_NOISE`, say which is better.

    Args:
        prompts: n sentences.
        samples: (n, k, 3, 64, 64) uint8, k samples of each; every two are a pair.
        rater: Prefers the higher likelihood of "exactly what the caption says".
        seed: Of the label noise.
    """
    rng = np.random.default_rng(seed)
    kept, better, worse = [], [], []
    for prompt, group in zip(prompts, samples, strict=True):
        caption = parse(prompt)
        assert caption is not None
        with torch.no_grad():
            reading = rater(group.float() / 255)
        scores = [reading.log_likelihood(row, caption) for row in range(len(group))]
        for one, two in combinations(range(len(group)), 2):
            if abs(scores[one] - scores[two]) < TIE:
                continue
            first_better = (scores[one] > scores[two]) != (rng.random() < LABEL_NOISE)
            kept.append(prompt)
            better.append(group[one if first_better else two])
            worse.append(group[two if first_better else one])
    return Pairs(kept, torch.stack(better), torch.stack(worse))


def render_pairs(
    count: int, sprites: GarblingSprites, degrade: Degrade, rng: np.random.Generator
) -> tuple[list[str], Tensor, Tensor]:
    """Return prompts, right pictures and wrong ones, (count, 3, 64, 64) in [0, 1] each."""
    captions = [sample_caption(rng) for _ in range(count)]
    right = to_tensor([render(scene_of(caption, rng), sprites, rng) for caption in captions])
    wrong = to_tensor([render(wrong_scene(caption, rng), sprites, rng) for caption in captions])
    order = rng.permutation(count)  # so that right and wrong of a pair are degraded alike
    both = [degrade(images[order], rng) for images in (right, wrong)]
    return [captions[i].sentence() for i in order], both[0], both[1]


def train_reward(
    model: ImageReward,
    sprites: GarblingSprites,
    pairs: Pairs,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    degrade: Degrade,
) -> ImageReward:
    """Rank pairs, half of them fresh renders and half drawn from `pairs`.

    The loss is ImageReward's: -log sigmoid(score of the better - score of the worse). A right
    render is ranked above one with an attribute wrong and above another caption's.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sprites.rng = rng
    model.train().requires_grad_(True)

    def loss_of_step(step: int) -> Tensor:
        rendered = batch_size // 2
        prompts, better, worse = render_pairs(rendered, sprites, degrade, rng)
        rows = torch.from_numpy(rng.integers(len(pairs.prompts), size=batch_size - rendered))
        prompts = prompts + [pairs.prompts[row] for row in rows]
        better = torch.cat([better, pairs.better[rows].float() / 255])
        worse = torch.cat([worse, pairs.worse[rows].float() / 255])
        elsewhere = better[:rendered].roll(1, 0)
        pictures = torch.cat([better, worse, elsewhere])
        scores = model.score(pictures, prompts * 2 + prompts[:rendered]).float()
        good, bad = scores[:-rendered].chunk(2)
        # Two pictures of one caption are not right and wrong.
        differ = torch.tensor([prompts[i] != prompts[i - 1] for i in range(rendered)])
        margins = torch.cat([good - bad, (good[:rendered] - scores[-rendered:])[differ]])
        return -functional.logsigmoid(margins).mean()

    trained = train(model, loss_of_step, steps=steps, learning_rate=learning_rate, name="reward")
    return trained.eval()


@torch.no_grad()
def with_unit_spread(model: ImageReward, samples: Pairs) -> ImageReward:
    """Set the score's mean and deviation so that the samples' scores get 0 and 1.

    The published model's constants do the same for its own data.
    """
    images = torch.cat([samples.better, samples.worse]).float() / 255
    scores = torch.cat(
        [model.score(part, texts) for part, texts in
         zip(images.split(256), _chunks(samples.prompts * 2, 256), strict=True)]
    )  # fmt: skip
    old = model.config
    mean = old.score_mean + old.score_std * scores.mean().item()
    std = old.score_std * scores.std().item()
    model.config = ImageRewardConfig(**{**old.model_dump(), "score_mean": mean, "score_std": std})
    return model


def _chunks(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
