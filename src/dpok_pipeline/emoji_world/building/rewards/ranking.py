"""Train the small ImageReward by ranking pictures of one caption, like the real one.

There are two sources of pairs. Of two renders, one shows what the caption says and the other has
one attribute wrong; both are degraded or drawn over by the base model alike, so that neither wins
by being clean. Of two samples of the base model, the rater says which is better, a network that
stands for people and errs like them.
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
    COLOUR_NAMES,
    KIND_NAMES,
    MAX_COUNT,
    NATURAL,
    PLACE_NAMES,
    PLAIN,
)
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig

# Share of the rater's verdicts that are turned round, because people disagree with each other.
LABEL_NOISE = 0.10
# Two samples whose log-likelihoods differ by less are a tie, at odds of less than 3 to 1.
TIE = 1.0


class Pairs(NamedTuple):
    """n ranked pairs of pictures.

    Attributes:
        prompts: Their n sentences.
        better: The right pictures, or those that the rater prefers, `(n, 3, 64, 64)` uint8.
        worse: The others, `(n, 3, 64, 64)` uint8.
    """

    prompts: list[str]
    better: Tensor
    worse: Tensor

    def joined(self, other: Pairs) -> Pairs:
        """Return these pairs followed by the others."""
        return Pairs(
            self.prompts + other.prompts,
            torch.cat([self.better, other.better]),
            torch.cat([self.worse, other.worse]),
        )


def reward_vocabulary() -> list[str]:
    """Return a WordPiece vocabulary of every word of the grammar, with letters for all others."""
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
    """Return the untrained network, of about 1.6 M values, for 64x64 pictures in 8x8 patches."""
    torch.manual_seed(seed)
    vocabulary = reward_vocabulary()
    config = ImageRewardConfig(
        image_size=64, patch_size=8, vision_width=128, vision_layers=4, vision_heads=4,
        text_width=128, text_layers=3, text_heads=4, text_positions=24, max_tokens=24,
        vocab_size=len(vocabulary), head_sizes=(128, 64, 32, 16), score_mean=0.0, score_std=1.0,
    )  # fmt: skip
    return ImageReward(config, vocabulary)


def wrong_scene(caption: Caption, rng: np.random.Generator) -> Scene:
    """Draw a scene that has exactly one of the caption's attributes wrong, or is garbled."""
    named = ["kind", "count", "garbled"]
    named += [name for name in ("colour", "other", "place") if getattr(caption, name)]
    attribute = str(rng.choice(named))
    things = [(caption.kind, caption.colour or NATURAL)] * caption.count
    place = caption.place or PLAIN
    if attribute in ("kind", "colour", "garbled"):
        kind = {"kind": another(KIND_NAMES, caption.kind, rng), "garbled": GARBLED}.get(
            attribute, caption.kind
        )
        colour = caption.colour or NATURAL
        if attribute == "colour":
            colour = another((NATURAL, *COLOUR_NAMES, MIXED), colour, rng)
        # One object of several is enough to be wrong.
        changed = int(rng.integers(1, caption.count + 1))
        things = [(kind, colour)] * changed + things[changed:]
    if attribute == "count":
        most = MAX_COUNT - bool(caption.other)
        counts = [n for n in range(1, most + 1) if n != caption.count]
        things = things[:1] * int(rng.choice(counts))
    if caption.other:
        second = [caption.other]
        if attribute == "other":  # The first again, nothing, or a third kind.
            second = [[caption.kind], [], [another(KIND_NAMES, caption.other, rng)]][
                rng.integers(3)
            ]
        things = things + [(kind, NATURAL) for kind in second]
    if attribute == "place":
        place = another(PLACE_NAMES, place, rng)
    return arrange(things[:MAX_COUNT], place, rng)


def rank_samples(prompts: Sequence[str], samples: Tensor, rater: SceneReader, seed: int) -> Pairs:
    """Pair samples of one prompt, and let the rater say, with `LABEL_NOISE`, which is better.

    Args:
        prompts: The n sentences.
        samples: The k samples of each sentence, `(n, k, 3, 64, 64)` uint8; every two are a pair.
        rater: The reader that prefers the higher likelihood of "exactly what the caption says".
        seed: Seed of the label noise.
    """
    rng = np.random.default_rng(seed)
    paired, better, worse = [], [], []
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
            paired.append(prompt)
            better.append(group[one if first_better else two])
            worse.append(group[two if first_better else one])
    return Pairs(paired, torch.stack(better), torch.stack(worse))


def render_pairs(
    count: int, sprites: GarblingSprites, degrade: Degrade, rng: np.random.Generator
) -> tuple[list[str], Tensor, Tensor]:
    """Draw prompts, right pictures and wrong ones, `(count, 3, 64, 64)` in [0, 1] each."""
    captions = [sample_caption(rng) for _ in range(count)]
    right = to_tensor([render(scene_of(caption, rng), sprites, rng) for caption in captions])
    wrong = to_tensor([render(wrong_scene(caption, rng), sprites, rng) for caption in captions])
    # `degrade` treats a picture by its place in the batch. One order for both lets the pictures of
    # a pair be degraded alike.
    order = rng.permutation(count)
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
    """Train the model to rank pairs, half of them fresh renders and half drawn from `pairs`.

    The loss is ImageReward's, -log sigmoid(score of the better - score of the worse). A right
    render is ranked above one with an attribute wrong and above another caption's.

    Args:
        model: The pre-trained model, which is updated in place.
        sprites: The sprite sheet, whose `rng` is set.
        pairs: Ranked pairs to draw from.
        steps: Number of updates.
        batch_size: Pairs per update.
        learning_rate: Peak learning rate.
        seed: Seed of renders and of the pairs that are drawn.
        degrade: Degradation of the fresh renders.
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
        # Each render's caption is also asked about the right render of the caption before it.
        elsewhere = better[:rendered].roll(1, 0)
        pictures = torch.cat([better, worse, elsewhere])
        scores = model.score(pictures, prompts * 2 + prompts[:rendered]).float()
        good, bad = scores[:-rendered].chunk(2)  # (batch_size,) each
        # Where both captions are the same, neither picture is wrong.
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
