"""The table of the comparison: prompt × model, with paired 95 % intervals.

`compare` takes the scores frame (see the package docstring) and returns a long frame with one row
per number:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
experiment      as in the scores; `all` for a mean over prompts
prompt_id       as in the scores; `mean` for a mean over prompts
prompt, split   as in the scores
metric          the score's column, `diversity`, or `reward_per_kl`
quantity        `base`, `sft`, `rl` for a level; `rl - sft` and the like for a paired difference;
                `rl beats sft` for the share of noises on which the first scores higher
mean, low, high the estimate and the ends of its interval
images          noise indices per prompt and model
training_seeds  training runs
==============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.diversity import cosine_distances, mean_pairwise_distance
from dpok_pipeline.evaluation.intervals import (
    REPLICATES,
    Array,
    Bootstrap,
    Interval,
    interval,
    wins,
)
from dpok_pipeline.evaluation.names import CONTRASTS, IDENTITY, MODELS

#: One prompt's values by model: `(s, n)` for a score, `(s, n, n)` for pairwise distances.
Values = dict[str, Array]
Row = tuple[str, str, Interval]

PROMPT_KEYS = ["experiment", "prompt_id", "prompt", "split"]


def compare(
    scores: pd.DataFrame,
    embeddings: NDArray[np.floating] | None = None,
    *,
    reward: str = "image_reward",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate every level, paired difference and win rate.

    Args:
        scores: one row per image.
        embeddings: `(rows, d)`, CLIP embeddings in the order of `scores`; None leaves the
            diversity out.
        reward: the column that training maximised, for the reward per KL.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        InputError: the models of a prompt were not sampled on the same noise.
    """
    scores = scores.reset_index(drop=True)
    if "training_seed" not in scores:
        scores = scores.assign(training_seed=0)
    tables, rows = {}, []
    for key, part in scores.groupby(PROMPT_KEYS, sort=False):
        tables[tuple(map(str, key))] = _prompt_values(part, embeddings)
    for key, values in [*tables.items(), *_means_over_prompts(tables)]:
        runs, images = next(iter(next(iter(values.values())).values())).shape[:2]
        bootstrap = Bootstrap(images, runs, replicates, seed)
        for name, quantity, estimate in _estimates(values, bootstrap, reward):
            rows.append((*key, name, quantity, *estimate, images, runs))
    columns = [*PROMPT_KEYS, "metric", "quantity", *Interval._fields, "images", "training_seeds"]
    return pd.DataFrame(rows, columns=columns)


def metric_columns(scores: pd.DataFrame) -> list[str]:
    """The numeric columns of a scores frame that are metrics."""
    names = [name for name in scores.columns if name not in IDENTITY]
    return [name for name in names if pd.api.types.is_numeric_dtype(scores[name])]


def estimates(part: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """One prompt's rows of a comparison as a table (metric, quantity) → estimate."""
    columns = ["metric", "quantity", *Interval._fields]
    return {
        (str(name), str(quantity)): Interval(float(mean), float(low), float(high))
        for name, quantity, mean, low, high in part[columns].itertuples(index=False)
    }


def _prompt_values(
    part: pd.DataFrame, embeddings: NDArray[np.floating] | None
) -> dict[str, Values]:
    """Every metric of one prompt as arrays that are aligned over models, runs and noise."""
    runs = sorted(part["training_seed"].unique())
    noises = sorted(part["index"].unique())
    cells = pd.MultiIndex.from_product([runs, noises])
    values: dict[str, Values] = {name: {} for name in metric_columns(part)}
    if embeddings is not None:
        values["diversity"] = {}
    for model in (name for name in MODELS if name in set(part["model"])):
        own = part[part["model"] == model].set_index(["training_seed", "index"])
        if own.index.has_duplicates or not cells.isin(own.index).all():
            raise InputError(
                f"scores: `{model}` on prompt {part['prompt'].iloc[0]!r} has not one image for "
                "each noise index of the others; sample all models with the same seeds"
            )
        own = own.assign(row=part.index[part["model"] == model]).loc[cells]
        for name in metric_columns(part):
            column = own[name].to_numpy(dtype=np.float64).reshape(len(runs), len(noises))
            if not np.isnan(column).all():
                values[name][model] = column
        if embeddings is not None:
            order = own["row"].to_numpy().reshape(len(runs), len(noises))
            values["diversity"][model] = np.stack([cosine_distances(embeddings[r]) for r in order])
    return {name: by_model for name, by_model in values.items() if by_model}


def _means_over_prompts(
    tables: dict[tuple[str, ...], dict[str, Values]],
) -> Iterator[tuple[tuple[str, ...], dict[str, Values]]]:
    """The mean over the prompts of each split that has several, noise by noise."""
    for split in dict.fromkeys(key[3] for key in tables):
        group = [values for key, values in tables.items() if key[3] == split]
        shapes = {next(iter(v.values())).shape[:2] for t in group for v in t.values()}
        if len(group) < 2 or len(shapes) > 1:
            continue
        first = group[0]
        yield (
            ("all", "mean", "Mean over prompts", split),
            {
                name: {
                    model: np.mean([table[name][model] for table in group], axis=0)
                    for model in first[name]
                    if all(model in table.get(name, {}) for table in group)
                }
                for name in first
                if all(name in table for table in group)
            },
        )


def _estimates(values: dict[str, Values], bootstrap: Bootstrap, reward: str) -> Iterator[Row]:
    """All numbers of one prompt."""
    for name, by_model in values.items():
        pairs = [(a, b) for a, b in CONTRASTS if a in by_model and b in by_model]
        estimate = _pair_mean if name == "diversity" else _mean
        for model, own in by_model.items():
            yield name, model, estimate(own, bootstrap)
        for a, b in pairs:
            yield name, f"{a} - {b}", estimate(by_model[a] - by_model[b], bootstrap)
        if name not in ("diversity", "kl"):
            for a, b in pairs:
                yield name, f"{a} beats {b}", bootstrap.mean(wins(by_model[a], by_model[b]))
    if reward in values and "kl" in values:
        yield from _reward_per_kl(values[reward], values["kl"], bootstrap)


def _mean(values: Array, bootstrap: Bootstrap) -> Interval:
    return bootstrap.mean(values)


def _pair_mean(distances: Array, bootstrap: Bootstrap) -> Interval:
    mean = float(np.mean([mean_pairwise_distance(one) for one in distances]))
    return interval(mean, bootstrap.pair_means(distances))


def _reward_per_kl(reward: Values, kl: Values, bootstrap: Bootstrap) -> Iterator[Row]:
    """Reward gained over the base model, divided by the distance from it."""
    estimates, replicates = {}, {}
    for model in ("sft", "rl"):
        if model not in kl or model not in reward or "base" not in reward:
            continue
        gain = reward[model] - reward["base"]
        distance = np.nanmean(kl[model])
        if distance <= 0:
            continue
        estimates[model] = float(np.nanmean(gain) / distance)
        replicates[model] = bootstrap.means(gain) / bootstrap.means(kl[model])
        yield "reward_per_kl", model, interval(estimates[model], replicates[model])
    if len(estimates) == 2:
        difference = interval(
            estimates["rl"] - estimates["sft"], replicates["rl"] - replicates["sft"]
        )
        yield "reward_per_kl", "rl - sft", difference
