"""The table of the comparison: prompt × model, with paired 95 % intervals.

`compare` takes the scores frame (see the package docstring) and returns a long frame with one row
per number:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
experiment      as in the scores; `all` for a mean over experiments
prompt_id       as in the scores; `mean` for a mean over several prompts
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

from collections.abc import Iterator, Sequence
from functools import partial

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
from dpok_pipeline.evaluation.names import CONTRASTS, IDENTITY, MODELS, reward_name

#: One prompt's values by model: `(s, n)` for a score, `(s, n, n)` for pairwise distances.
Values = dict[str, Array]
#: One prompt's values by metric.
Prompt = dict[str, Values]
Prompts = list[Prompt]
Row = tuple[str, str, Interval]

PROMPT_KEYS = ["experiment", "prompt_id", "prompt", "split"]


def compare(
    scores: pd.DataFrame,
    embeddings: NDArray[np.floating] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate every level, paired difference and win rate.

    Args:
        scores: one row per image.
        embeddings: `(rows, d)`, CLIP embeddings in the order of `scores`; None leaves the
            diversity out.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Raises:
        InputError: the models of a prompt were not sampled on the same noise.
    """
    scores = scores.reset_index(drop=True)
    reward = reward_name(scores.columns)
    if "training_seed" not in scores:
        scores = scores.assign(training_seed=0)
    tables, rows = {}, []
    for key, part in scores.groupby(PROMPT_KEYS, sort=False):
        tables[tuple(map(str, key))] = _prompt_values(part, embeddings)
    for key, prompts in [*((k, [v]) for k, v in tables.items()), *_by_split(tables)]:
        runs, images = _shape(prompts[0])
        bootstrap = Bootstrap(images, runs, replicates, seed)
        for name, quantity, estimate in _estimates(prompts, bootstrap, reward):
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


def overall(comparison: pd.DataFrame, split: str) -> dict[tuple[str, str], Interval]:
    """Estimates of a whole split: the mean over all its prompts, or its only prompt."""
    rows = comparison[comparison["split"] == split]
    means = rows[rows["prompt_id"] == "mean"]
    joint = means[means["experiment"] == "all"]
    part = next((part for part in (joint, means) if not part.empty), rows)
    several = len(part[["experiment", "prompt_id"]].drop_duplicates()) > 1
    return {} if several else estimates(part)


def _prompt_values(part: pd.DataFrame, embeddings: NDArray[np.floating] | None) -> Prompt:
    """Every metric of one prompt as arrays that are aligned over models, runs and noise."""
    runs = sorted(part["training_seed"].unique())
    noises = sorted(part["index"].unique())
    cells = pd.MultiIndex.from_product([runs, noises])
    values: Prompt = {name: {} for name in metric_columns(part)}
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


def _shape(prompt: Prompt) -> tuple[int, int]:
    """Training runs and noise indices of a prompt."""
    array = next(array for values in prompt.values() for array in values.values())
    return array.shape[0], array.shape[1]


def _by_split(tables: dict[tuple[str, ...], Prompt]) -> Iterator[tuple[tuple[str, ...], Prompts]]:
    """Each experiment's prompts, then all experiments', where there are several in a split."""
    experiments = list(dict.fromkeys(key[0] for key in tables))
    splits = list(dict.fromkeys(key[3] for key in tables))
    groups = [(name, {name}) for name in experiments]
    if len(experiments) > 1:
        groups.append(("all", set(experiments)))
    for name, members in groups:
        title = f"Mean over {'prompts' if name == 'all' or len(experiments) == 1 else name}"
        for split in splits:
            group = [v for key, v in tables.items() if key[0] in members and key[3] == split]
            if len(group) > 1:
                _check_same_noise(tables)
                yield (name, "mean", title, split), group


def _check_same_noise(tables: dict[tuple[str, ...], Prompt]) -> None:
    """Only what was drawn from the same noise can be averaged noise by noise."""
    shapes = {key[0]: _shape(prompt) for key, prompt in tables.items()}
    if len(set(shapes.values())) > 1:
        drawn = ", ".join(
            f"{name} {images} images" + (f" × {runs} training seeds" if runs > 1 else "")
            for name, (runs, images) in shapes.items()
        )
        raise InputError(
            f"scores: per prompt, {drawn}; evaluate the experiments again with one "
            "evaluation.images_per_prompt"
        )


def _estimates(prompts: Prompts, bootstrap: Bootstrap, reward: str) -> Iterator[Row]:
    """All numbers of one prompt, or of the mean over several, noise by noise."""
    shared = [name for name in prompts[0] if all(name in prompt for prompt in prompts)]
    for name in shared:
        values = [prompt[name] for prompt in prompts]
        models = [model for model in values[0] if all(model in one for one in values)]
        pairs = [(a, b) for a, b in CONTRASTS if a in models and b in models]
        mean = partial(_pair_mean, bootstrap) if name == "diversity" else bootstrap.mean
        for model in models:
            yield name, model, mean(_over(values, model))
        for a, b in pairs:
            yield name, f"{a} - {b}", mean(_over(values, a) - _over(values, b))
        if name not in ("diversity", "kl"):
            for a, b in pairs:
                won = np.mean([wins(one[a], one[b]) for one in values], axis=0)
                yield name, f"{a} beats {b}", bootstrap.mean(won)
    if reward in shared and "kl" in shared:
        yield from _reward_per_kl(prompts, bootstrap, reward)


def _over(values: Sequence[Values], model: str) -> Array:
    """One model's values, averaged over the prompts."""
    mean: Array = np.mean([one[model] for one in values], axis=0)
    return mean


def _pair_mean(bootstrap: Bootstrap, distances: Array) -> Interval:
    mean = float(np.mean([mean_pairwise_distance(one) for one in distances]))
    return interval(mean, bootstrap.pair_means(distances))


def _reward_per_kl(prompts: Prompts, bootstrap: Bootstrap, reward: str) -> Iterator[Row]:
    """Reward gained over the base model, divided by the distance from it."""
    rewards, distances = ([prompt[name] for prompt in prompts] for name in (reward, "kl"))
    estimates, replicates = {}, {}
    for model in ("sft", "rl"):
        if any(m not in one for one in rewards for m in (model, "base")):
            continue
        if any(model not in one for one in distances):
            continue
        gain, distance = _over(rewards, model) - _over(rewards, "base"), _over(distances, model)
        if np.nanmean(distance) <= 0:
            continue
        estimates[model] = float(np.nanmean(gain) / np.nanmean(distance))
        with np.errstate(divide="ignore", invalid="ignore"):  # replicates without a known KL
            replicates[model] = bootstrap.means(gain) / bootstrap.means(distance)
        yield "reward_per_kl", model, interval(estimates[model], replicates[model])
    if len(estimates) == 2:
        gap = estimates["rl"] - estimates["sft"]
        yield "reward_per_kl", "rl - sft", interval(gap, replicates["rl"] - replicates["sft"])
