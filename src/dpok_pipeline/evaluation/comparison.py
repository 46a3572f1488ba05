"""The table of the comparison: prompt × method, with paired 95 % intervals.

`compare` takes the scores frame (see the package docstring) and returns a long frame with one row
per number:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
experiment      as in the scores; `all` for a mean over experiments
prompt_id       as in the scores; `mean` for a mean over several prompts
prompt, split   as in the scores
metric          the score's column, `diversity`, or `reward_per_kl`
quantity        a method's name for a level; `dpok - sft` and the like for a paired difference;
                `dpok beats sft` for the share of noises on which the first scores higher
mean, low, high the estimate and the ends of its interval
images          noise indices per prompt and method
training_seeds  training runs
==============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ComparisonConfig, Pair
from dpok_pipeline.evaluation.diversity import cosine_distances, mean_pairwise_distance
from dpok_pipeline.evaluation.intervals import (
    REPLICATES,
    Array,
    Bootstrap,
    Interval,
    interval,
    wins,
)
from dpok_pipeline.evaluation.names import BASE, IDENTITY, training_reward

#: One prompt's values by method: `(s, n)` for a score, `(s, n, n)` for pairwise distances.
Values = dict[str, Array]
#: One prompt's values by metric.
Prompt = dict[str, Values]
#: Several prompts, each with the name of its experiment.
Prompts = list[tuple[str, Prompt]]
Row = tuple[str, str, Interval]

PROMPT_KEYS = ["experiment", "prompt_id", "prompt", "split"]


class _Plan(NamedTuple):
    """What is estimated of every prompt."""

    methods: Sequence[str]
    contrasts: Sequence[Pair]
    reward: str


def contrasts_of(methods: Sequence[str], config: ComparisonConfig) -> list[Pair]:
    """List the pairs of methods to compare: the configured, the claimed, and all with the base.

    Args:
        methods: Names of the methods that there are, the base model among them.
        config: What is configured.

    Returns:
        Pairs of listed methods, none twice nor the other way round.
    """
    claimed = [(claim.better, claim.worse) for claim in config.claims.values()]
    with_base = [(name, BASE.name) for name in methods if name != BASE.name]
    pairs: list[Pair] = []
    for pair in [*config.contrasts, *claimed, *with_base]:
        if set(pair) <= set(methods) and pair not in pairs and pair[::-1] not in pairs:
            pairs.append(pair)
    return pairs


def compare(
    scores: pd.DataFrame,
    embeddings: NDArray[np.floating] | None = None,
    *,
    methods: Sequence[str],
    contrasts: Sequence[Pair],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate every level, paired difference and win rate.

    Args:
        scores: One row per image.
        embeddings: `(rows, d)`, CLIP embeddings in the order of `scores`; None leaves the
            diversity out.
        methods: Names of the methods to compare, in the order of the rows; rows of others do not
            count, and a method without rows is left out.
        contrasts: Pairs of methods whose differences are estimated, as `contrasts_of` lists them.
        replicates: Bootstrap replicates.
        seed: Seed of the bootstrap.

    Raises:
        InputError: The methods of a prompt were not sampled on the same noise, or their images
            were not made and scored in the same way.
    """
    scores = scores.reset_index(drop=True)
    if "training_seed" not in scores:
        scores = scores.assign(training_seed=0)
    scores = scores[scores["method"].isin(methods)]
    _check_made_alike(scores)
    plan = _Plan(methods, contrasts, training_reward(scores.columns))
    tables, rows = {}, []
    for key, part in scores.groupby(PROMPT_KEYS, sort=False):
        tables[tuple(map(str, key))] = _prompt_values(part, embeddings, methods)
    single = [(key, [(key[0], prompt)]) for key, prompt in tables.items()]
    for key, prompts in [*single, *_by_split(tables)]:
        runs, images = _shape(prompts[0][1])
        bootstrap = Bootstrap(images, replicates, seed)
        for name, quantity, estimate in _estimates(prompts, bootstrap, plan):
            rows.append((*key, name, quantity, *estimate, images, runs))
    columns = [*PROMPT_KEYS, "metric", "quantity", *Interval._fields, "images", "training_seeds"]
    return pd.DataFrame(rows, columns=columns)


def metric_columns(scores: pd.DataFrame) -> list[str]:
    """List the numeric columns of a scores frame that are metrics."""
    names = [name for name in scores.columns if name not in IDENTITY]
    return [name for name in names if pd.api.types.is_numeric_dtype(scores[name])]


def _check_made_alike(scores: pd.DataFrame) -> None:
    """Refuse to compare methods whose images were made or scored in other ways.

    Raises:
        InputError: Recipes differ, or a method lacks a prompt that its experiment's others have.
    """
    if "recipe" in scores:
        differs = scores["recipe"] != scores["recipe"].iloc[0]
        if differs.any():
            first, other = scores.iloc[0], scores[differs].iloc[0]
            raise InputError(
                f"scores: `{other['method']}` of {other['experiment']} was not drawn and scored as "
                f"`{first['method']}` of {first['experiment']} was; run evaluation again for both"
            )
    for experiment, part in scores.groupby("experiment", sort=False):
        _check_same_prompts(str(experiment), part)


def _check_same_prompts(experiment: str, scores: pd.DataFrame) -> None:
    """Refuse to compare methods of one experiment that have images of different prompts."""
    rows = scores[["method", *PROMPT_KEYS]].drop_duplicates()
    counts = rows.groupby("method", sort=False).size()
    if counts.nunique() > 1:
        raise InputError(
            f"scores of {experiment}: `{counts.idxmin()}` has images of {counts.min()} "
            f"prompts, `{counts.idxmax()}` of {counts.max()}; run evaluation again for both"
        )
    # As many prompts, but not the same: then some prompt has fewer methods than there are.
    for (_, _, prompt, split), part in rows.groupby(PROMPT_KEYS, sort=False):
        lacking = [name for name in counts.index if name not in set(part["method"])]
        if lacking:
            raise InputError(
                f"scores of {experiment}: `{lacking[0]}` has no image of the {split} prompt "
                f"{prompt!r}, `{part['method'].iloc[0]}` has; run evaluation again for both"
            )


def _prompt_values(
    part: pd.DataFrame, embeddings: NDArray[np.floating] | None, methods: Sequence[str]
) -> Prompt:
    """Arrange every metric of one prompt as arrays aligned over methods, runs and noise."""
    runs = sorted(part["training_seed"].unique())
    noises = sorted(part["index"].unique())
    cells = pd.MultiIndex.from_product([runs, noises])
    values: Prompt = {name: {} for name in metric_columns(part)}
    if embeddings is not None:
        values["diversity"] = {}
    for method in (name for name in methods if name in set(part["method"])):
        images = part[part["method"] == method].set_index(["training_seed", "index"])
        if images.index.has_duplicates or not cells.isin(images.index).all():
            raise InputError(
                f"scores: `{method}` on prompt {part['prompt'].iloc[0]!r} has not one image for "
                "each noise index of the others; sample all methods with the same seeds"
            )
        images = images.assign(row=part.index[part["method"] == method]).loc[cells]
        for name in metric_columns(part):
            # The cells run over the noises of one training run, then those of the next.
            column = images[name].to_numpy(dtype=np.float64).reshape(len(runs), len(noises))
            if not np.isnan(column).all():
                values[name][method] = column  # (s, n)
        if embeddings is not None:
            order = images["row"].to_numpy().reshape(len(runs), len(noises))
            # Images of different training runs are no pair: they are not drawn by one model.
            distances = [cosine_distances(embeddings[rows]) for rows in order]
            values["diversity"][method] = np.stack(distances)  # (s, n, n)
    return {name: by_method for name, by_method in values.items() if by_method}


def _shape(prompt: Prompt) -> tuple[int, int]:
    """Count the training runs and noise indices of a prompt."""
    array = next(array for values in prompt.values() for array in values.values())
    return array.shape[0], array.shape[1]


def _by_split(tables: dict[tuple[str, ...], Prompt]) -> Iterator[tuple[tuple[str, ...], Prompts]]:
    """Yield each experiment's prompts, then all experiments', where a split has several."""
    experiments = list(dict.fromkeys(key[0] for key in tables))
    splits = list(dict.fromkeys(key[3] for key in tables))
    groups = [(name, {name}) for name in experiments]
    if len(experiments) > 1:
        groups.append(("all", set(experiments)))
    for name, members in groups:
        title = f"Mean over {'prompts' if name == 'all' or len(experiments) == 1 else name}"
        for split in splits:
            group = [
                (key[0], prompt)
                for key, prompt in tables.items()
                if key[0] in members and key[3] == split
            ]
            if len(group) > 1:
                _check_same_noise(tables)
                yield (name, "mean", title, split), group


def _check_same_noise(tables: dict[tuple[str, ...], Prompt]) -> None:
    """Refuse to average noise by noise what was not drawn from the same noise."""
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


def _estimates(prompts: Prompts, bootstrap: Bootstrap, plan: _Plan) -> Iterator[Row]:
    """Yield all numbers of one prompt, or of the mean over several, noise by noise."""
    experiments = [experiment for experiment, _ in prompts]
    shared = [name for name in prompts[0][1] if all(name in prompt for _, prompt in prompts)]
    for name in shared:
        values = [prompt[name] for _, prompt in prompts]
        methods = [method for method in values[0] if all(method in one for one in values)]
        pairs = [(a, b) for a, b in plan.contrasts if a in methods and b in methods]
        estimate = _diversity if name == "diversity" else _mean
        mean = partial(estimate, bootstrap, experiments)
        for method in methods:
            yield name, method, mean(_of(values, method))
        for a, b in pairs:
            yield name, f"{a} - {b}", mean(_of(values, a) - _of(values, b))
        if name not in ("diversity", "kl"):
            for a, b in pairs:
                won = mean(wins(_of(values, a), _of(values, b)))
                # The luck of few runs may reach beyond what a share can be.
                yield name, f"{a} beats {b}", Interval(*np.clip(won, 0, 1).tolist())
    if plan.reward in shared and "kl" in shared:
        yield from _reward_per_kl(prompts, bootstrap, plan)


def _of(values: Sequence[Values], method: str) -> Array:
    """Put one method's values of all prompts together, `(p, s, ...)`."""
    return np.stack([one[method] for one in values])


def _mean(bootstrap: Bootstrap, experiments: Sequence[str], values: Array) -> Interval:
    """Average values `(p, s, n)`, with the luck of the noises and of training."""
    luck = bootstrap.training_luck(_known_mean(values), experiments)
    over_prompts = values.mean(axis=0)
    return interval(float(np.nanmean(over_prompts)), bootstrap.means(over_prompts) + luck)


def _diversity(bootstrap: Bootstrap, experiments: Sequence[str], distances: Array) -> Interval:
    """Average pairwise distances `(p, s, n, n)` in the same way."""
    runs = np.array([[mean_pairwise_distance(one) for one in prompt] for prompt in distances])
    luck = bootstrap.training_luck(runs, experiments)
    return interval(float(runs.mean()), bootstrap.pair_means(distances.mean(axis=0)) + luck)


def _known_mean(values: Array) -> Array:
    """Average over the noises `(p, s, n)` that have a value; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, values, 0).sum(-1) / known.sum(-1)
    return mean


def _reward_per_kl(prompts: Prompts, bootstrap: Bootstrap, plan: _Plan) -> Iterator[Row]:
    """Divide the reward gained over the base model by the distance from it.

    Every replicate is a quotient of two means over the same draws. The base model has neither gain
    nor distance, so it has no quotient.
    """
    experiments = [experiment for experiment, _ in prompts]
    rewards, distances = ([prompt[name] for _, prompt in prompts] for name in (plan.reward, "kl"))
    means, replicates, runs = {}, {}, {}
    for method in (name for name in plan.methods if name != BASE.name):
        if any(name not in one for one in rewards for name in (method, BASE.name)):
            continue
        if any(method not in one for one in distances):
            continue
        gains, spans = _of(rewards, method) - _of(rewards, BASE.name), _of(distances, method)
        gain, distance = gains.mean(axis=0), spans.mean(axis=0)  # (s, n)
        if np.nanmean(distance) <= 0:
            continue
        means[method] = float(np.nanmean(gain) / np.nanmean(distance))
        with np.errstate(divide="ignore", invalid="ignore"):  # replicates without a known KL
            replicates[method] = bootstrap.means(gain) / bootstrap.means(distance)  # (r,)
        # How far each run's gain is from what the quotient makes of its distance, as a quotient:
        # to first order that is what its luck does to the quotient of the means.
        surplus = _known_mean(gains) - means[method] * _known_mean(spans)
        runs[method] = surplus / np.nanmean(distance)  # (p, s)
        luck = bootstrap.training_luck(runs[method], experiments)
        yield "reward_per_kl", method, interval(means[method], replicates[method] + luck)
    for a, b in plan.contrasts:
        if a in means and b in means:
            luck = bootstrap.training_luck(runs[a] - runs[b], experiments)
            gap = interval(means[a] - means[b], replicates[a] - replicates[b] + luck)
            yield "reward_per_kl", f"{a} - {b}", gap
