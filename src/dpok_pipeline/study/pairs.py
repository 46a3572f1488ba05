"""The pairs of image sets that raters see, and the key that says which method is on which side.

Each experiment contributes a frame of *sets*, which may serve as pairs; the page takes as many of
them as are asked for. A frame of sets has one row per candidate:

=================  ================================================================================
column             meaning
=================  ================================================================================
experiment         name of the set of training prompts
prompt_id, prompt  key of the training prompt, and its text
ours, theirs       the two methods of the contrast, by name
noises             noise indices of the set's images, the same for both methods
ours_images        the images of `ours` as WebP bytes, in the order of `noises`
theirs_images      those of `theirs`
ours_sha256        hashes of the PNGs that `ours_images` were made of, as scores have them
theirs_sha256      those of `theirs_images`
=================  ================================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dpok_pipeline.evaluation.comparison import contrasts_of
from dpok_pipeline.evaluation.config import ComparisonConfig, Pair
from dpok_pipeline.report.pictures.webp import BASE64, as_webp, compression
from dpok_pipeline.study.config import StudyConfig

#: Images of a set, as the paper shows them.
SET_SIZE = 4
#: What one page may weigh, in bytes, so that it can be sent by mail and opened on a phone.
PAGE_BUDGET = 13_000_000
SIDES = (384, 256)  # pixels; larger images are reduced to the first, or else to the second

COLUMNS = (
    "experiment",
    "prompt_id",
    "prompt",
    "ours",
    "theirs",
    "noises",
    "ours_images",
    "theirs_images",
    "ours_sha256",
    "theirs_sha256",
)

Key = dict[str, Any]


class PagePair(NamedTuple):
    """All that the page knows of a pair.

    Attributes:
        pair: Random id.
        prompt: What the images were asked to show.
        left: Images of the left set as WebP bytes.
        right: Those of the right set.
    """

    pair: str
    prompt: str
    left: list[bytes]
    right: list[bytes]


class Study(NamedTuple):
    """A study as it goes apart: the pairs for the page, the key for the catalog.

    Attributes:
        study: Id of the page, a hash of everything that raters see.
        pairs: What the page shows.
        key: Which method is on which side of each pair; must not reach a rater.
    """

    study: str
    pairs: list[PagePair]
    key: Key


def study_contrasts(config: ComparisonConfig) -> list[Pair]:
    """List the contrasts that raters are asked about: those configured, of methods that there are.

    An environment with methods of its own and no contrast of them compares each with the base.
    """
    names = [method.name for method in config.methods]
    configured = [pair for pair in config.contrasts if set(pair) <= set(names)]
    return list(dict.fromkeys(configured)) or contrasts_of(names, config)


def choose_sets(
    images: Mapping[str, Iterable[pd.DataFrame]], contrasts: Sequence[Pair], config: StudyConfig
) -> pd.DataFrame:
    """Choose an experiment's candidates, the first ones spread over its training prompts.

    Sets of one contrast share no image; those of different contrasts share none while there are
    images enough, so that raters cannot learn to know a set.

    Args:
        images: Shards of images by method, as `evaluation.drawing` makes them.
        contrasts: Pairs of methods, as `study_contrasts` lists them.
        config: How many pairs, and the seed.
    """
    by_method = {method: _pngs(shards) for method, shards in images.items()}
    prompts = next(iter(by_method.values()), {})
    chosen: list[tuple[tuple[Any, ...], list[list[bytes]]]] = []
    for number, (ours, theirs) in enumerate(contrasts):
        wanted = -(-config.pairs // len(contrasts))
        for key, noises in _spread(prompts, number, len(contrasts), config.seed, wanted):
            pngs = [[by_method[name][key][noise] for noise in noises] for name in (ours, theirs)]
            chosen.append(((*key, ours, theirs, noises), pngs))
    shown = [png for _, both in chosen for pngs in both for png in pngs]
    budget = int(PAGE_BUDGET / BASE64 / (2 * SET_SIZE * config.pairs))
    # Raters are asked which images are better: nothing is lost where that can be.
    options = compression(shown, budget, SIDES, lossless=True)
    rows = [
        (
            *row,
            *([as_webp(png, options) for png in pngs] for pngs in both),
            *([hashlib.sha256(png).hexdigest() for png in pngs] for pngs in both),
        )
        for row, both in chosen
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pngs(shards: Iterable[pd.DataFrame]) -> dict[tuple[str, ...], dict[int, bytes]]:
    """Collect the images of training prompts by prompt and noise index."""
    pngs: dict[tuple[str, ...], dict[int, bytes]] = {}
    for shard in shards:
        rows = shard[shard["split"] == "train"]
        for key, part in rows.groupby(["experiment", "prompt_id", "prompt"], sort=False):
            of_prompt = pngs.setdefault(tuple(map(str, key)), {})
            for noise, image in zip(part["index"], part["image"], strict=True):
                of_prompt[int(noise)] = image["bytes"]
    return pngs


def _spread(
    prompts: Mapping[tuple[str, ...], Mapping[int, bytes]],
    contrast: int,
    contrasts: int,
    seed: int,
    wanted: int,
) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Yield the prompts and noises of one contrast's sets: a set of every prompt, then a second."""
    per_prompt = []
    for key, noises in prompts.items():
        blocks = _blocks(sorted(noises), seed, key)
        # Each contrast begins elsewhere in the same ring of disjoint sets.
        start = contrast * len(blocks) // contrasts
        per_prompt.append([(key, block) for block in blocks[start:] + blocks[:start]])
    order = [per_prompt[place] for place in _rng(seed, "prompts").permutation(len(per_prompt))]
    turns = (item for turn in zip_longest(*order) for item in turn if item is not None)
    yield from (item for _, item in zip(range(wanted), turns, strict=False))


def _blocks(noises: list[int], seed: int, key: tuple[str, ...]) -> list[list[int]]:
    """Cut a prompt's noises, shuffled, into disjoint sets; of very few images make one set."""
    shuffled = [noises[place] for place in _rng(seed, *key).permutation(len(noises))]
    whole = max(len(shuffled) // SET_SIZE, 1)
    return [sorted(shuffled[n * SET_SIZE : (n + 1) * SET_SIZE]) for n in range(whole)]


def _rng(seed: int, *purpose: str) -> np.random.Generator:
    """Make the random numbers of one purpose, which no other one shares."""
    digest = hashlib.sha256(json.dumps([seed, *purpose]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def make_study(sets: Sequence[pd.DataFrame], config: StudyConfig) -> Study:
    """Take pairs from the experiments' candidates by turns, and draw sides, ids and order.

    Of every contrast as many pairs have its first method on the left as on the right, give or take
    one, so that a habit of pressing one side favours no method.

    Args:
        sets: Candidates of each experiment, as `choose_sets` returns them.
        config: How many pairs, and the seed.
    """
    groups = [
        list(part.to_dict("records"))
        for table in sets
        for _, part in table.groupby(["ours", "theirs"], sort=False)
    ]
    # Experiments and contrasts take turns, so that none of them waits for the others' last set.
    turns = [row for turn in zip_longest(*groups) for row in turn if row is not None]
    chosen = turns[: config.pairs]
    rng = _rng(config.seed, "sides")
    swapped = _sides([(row["ours"], row["theirs"]) for row in chosen], rng)
    ids = _ids(len(chosen), rng)
    pairs, entries = [], []
    for place in rng.permutation(len(chosen)):
        row, pair, swap = chosen[place], ids[place], swapped[place]
        images = [[bytes(one) for one in row[f"{side}_images"]] for side in ("ours", "theirs")]
        left, right = images[::-1] if swap else images
        pairs.append(PagePair(pair, str(row["prompt"]), left, right))
        entries.append(_entry(row, pair, swap))
    study = _study_id(pairs)
    return Study(study, pairs, {"study": study, "pairs": entries})


def _sides(contrasts: Sequence[Pair], rng: np.random.Generator) -> list[bool]:
    """Draw for each pair whether its first method is on the right: half of every contrast's."""
    swapped = [False] * len(contrasts)
    for contrast in dict.fromkeys(contrasts):
        places = [place for place, other in enumerate(contrasts) if other == contrast]
        # Of an odd number, chance decides which side has one more.
        halves = (np.arange(len(places)) + rng.integers(2)) % 2
        for place, half in zip(places, rng.permutation(halves), strict=True):
            swapped[place] = bool(half)
    return swapped


def _ids(count: int, rng: np.random.Generator) -> list[str]:
    """Draw different random ids."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids[rng.bytes(4).hex()] = None
    return list(ids)


def _entry(row: Mapping[Any, Any], pair: str, swap: bool) -> dict[str, Any]:
    """Write down one pair's line of the key."""
    ours, theirs = str(row["ours"]), str(row["theirs"])
    entry: dict[str, Any] = {
        "pair": pair,
        "experiment": str(row["experiment"]),
        "prompt_id": str(row["prompt_id"]),
        "prompt": str(row["prompt"]),
        "noises": [int(noise) for noise in row["noises"]],
        "ours": ours,
        "theirs": theirs,
        "left": theirs if swap else ours,
        "right": ours if swap else theirs,
    }
    # Sets of an experiment that an earlier release has evaluated do not say it.
    if "ours_sha256" in row:
        entry["image_sha256"] = {
            ours: list(map(str, row["ours_sha256"])),
            theirs: list(map(str, row["theirs_sha256"])),
        }
    return entry


def _study_id(pairs: Sequence[PagePair]) -> str:
    """Hash what raters see: a page with other images, sides or order is another study."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.pair, pair.prompt]).encode())
        for image in (*pair.left, *pair.right):
            digest.update(hashlib.sha256(image).digest())
    return digest.hexdigest()[:16]
